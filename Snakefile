"""The pipeline under Snakemake. dvc.yaml holds the same stages; tests/test_engines.py keeps the two alike."""

import shlex
import subprocess
from dataclasses import asdict

import yaml
from snakemake.exceptions import WorkflowError

from fieldgap import due, gpu
from fieldgap.errors import InputError
from fieldgap.parts import own_sources
from fieldgap.scenes import pair
from fieldgap.settings import check, flags


configfile: "params.yaml"


# The order of axes names the runs. Keys of a second --configfile come first in `config`, so params.yaml's order is kept.
AXES = list(yaml.safe_load(Path("params.yaml").read_text())["grid"])
config["grid"] = dict(sorted(config["grid"].items(), key=lambda axis: (*AXES, axis[0]).index(axis[0])))
# An axis that a second --configfile adds takes the place of params.yaml's own value.
config["train"] = {key: value for key, value in config["train"].items() if key in AXES or key not in config["grid"]}

DEMO = [f"scene_{i:03d}" for i in range(int(config["demo"]["scenes"]))]
DRAWN = {
    "images": expand("data/demo/images/{scene}.png", scene=DEMO),
    "masks": expand("data/demo/masks/{scene}_mask.png", scene=DEMO),
}
POPULATION = "data/demo/population.npz"
TILES = [f"data/tiles/{name}" for name in ("images.npy", "masks.npy", "tiles.csv", "mask_report.json")]
LEAKAGE = "data/tiles/leakage.csv"
FRESH = "data/tiles/population.npz"
TRAINED = [
    "config.json",
    "history.csv",
    "steps.csv",
    "weights.safetensors",
    "best.safetensors",
    "status.json",
]
EVALUATED = ["metrics.json", "scenes.csv", "calibration.csv", "predictions.npz"]
DRAWING = "country canvas parcels fields borders waters farmsteads trees scene".split()
FIGURES = {
    "The answer": ["verdict", "effects", "interactions", "divergence"],
    "The gap": ["gap", "errors", "gap_ends", "splits", "naive"],
    "Where it fails": ["scenes", "calibration", "disagreement"],
    "Training": ["rates"],
}
CHARTS = [f"charts/{part}" for part in ("style", "curves", "comparison", "scores")]
PAGE = [
    f"src/fieldgap/page/{name}"
    for name in (
        "index.html.j2",
        "effects.html.j2",
        "gap.html.j2",
        "data.html.j2",
        "failures.html.j2",
        "origins.html.j2",
        "macros.html.j2",
        "summary.md.j2",
        "style.css",
        "page.js",
    )
]

RECORDED = Path("reports/recorded.csv")


try:
    settings = check(config)
    data = settings.data
    if data.images == "data/demo/images":
        SCENES, BESIDE = [file for files in DRAWN.values() for file in files], [POPULATION]
    else:
        pairs = pair(Path(data.images), Path(data.masks), data.mask_pattern).values()
        SCENES, BESIDE = [str(file) for files in pairs for file in files], []
    # On a cluster each job reads this file again, beside many others: what is due was judged before.
    DUE = due.mark(settings) if workflow.is_main_process else due.judged(settings)
except InputError as error:
    raise WorkflowError(str(error))


def code(*modules):
    return ancient([f"src/fieldgap/{module}.py" for module in modules])


def made(job, *files):
    """Inputs that other jobs made. due.py has compared bytes, whoever wrote them: a job that is due finds its mark new,
    and for one that is not no age of a file counts."""
    return [*files, str(due.MARK)] if job in DUE else ancient([*files])


def given(values):
    """A function, since Snakemake takes {stem} in a plain string for a wildcard; the flags are spelt once for all runs."""
    spelt = flags(values)
    return lambda wildcards: spelt


def own(run, *kinds):
    """The user's own parts of a run, as inputs of the stages that use them."""
    values = {**settings.train, **settings.runs[run]}
    return ancient([source for kind in kinds for source in own_sources(values[kind])])


def of_run(run, files):
    return [f"runs/{run}/{file}" for file in files]


def of_runs():
    return [file for run in settings.runs for file in of_run(run, [*TRAINED, *EVALUATED])]


def places(run):
    """How much of a GPU a run takes: of a cluster it asks for one by `device: cuda` alone."""
    device = {**settings.train, **settings.runs[run]}["device"]
    return int(device == "cuda" or (device == "auto" and workflow.local_exec))


if workflow.is_main_process and "gpu" not in workflow.global_resources and (gpus := gpu.count()):
    workflow.register_resource("gpu", settings.engine.runs_per_gpu * gpus)


wildcard_constraints:
    run=r"[^/]+",


# A limit for this machine, not for a cluster, which knows its own.
resource_scopes:
    gpu="local",


# Too light for a queue; and record writes a database, which it should alone.
localrules:
    all,
    split,
    record,


onstart:
    # Shows trainings in MLflow while they run, at the lowest priority. It ends with this process.
    Path("logs").mkdir(exist_ok=True)
    command = f"python -m fieldgap watch --spools .fieldgap/spool {flags(asdict(settings.record))}"
    subprocess.Popen(shlex.split(command), stdout=subprocess.DEVNULL, stderr=open("logs/watch.log", "w"))


onsuccess:
    if RECORDED.is_file() and ",false" in RECORDED.read_text():
        print(Path("logs/record.log").read_text())
    if trouble := due.tell_dvc(settings):
        print(f"dvc repro will bring these results from the cache again: {trouble}")


rule all:
    input:
        "reports/index.html",
        "reports/recorded.csv",


rule demo:
    input:
        code("demo", "cores", "files", "errors"),
        code(*(f"drawing/{part}" for part in DRAWING)),
        made("demo"),
    output:
        POPULATION,
        **DRAWN,
    log:
        "logs/demo.log",
    conda:
        "environment.yaml"
    params:
        given(asdict(settings.demo)),
    shell:
        "python -m fieldgap demo --images data/demo/images --masks data/demo/masks --population data/demo/population.npz {params} >{log} 2>&1"


rule split:
    input:
        code("split", "scenes", "reading", "cores", "images", "masks", "labels", "files", "errors"),
        ancient(settings.split.table),
        made("split", *SCENES),
    output:
        "data/split.csv",
    log:
        "logs/split.log",
    conda:
        "environment.yaml"
    params:
        data=given(asdict(data)),
        split=given(asdict(settings.split)),
    shell:
        "python -m fieldgap split {params.data} --out {output} {params.split} >{log} 2>&1"


rule normalize:
    input:
        code("normalize", "cutting", "packs", "fresh", "reading", "images", "masks", "labels", "scaling", "leakage"),
        code("scenes", "outputs", "sources", "cores", "files", "errors"),
        made("normalize", "data/split.csv", *SCENES, *BESIDE),
    output:
        TILES,
        LEAKAGE,
        FRESH,
    log:
        "logs/normalize.log",
    conda:
        "environment.yaml"
    params:
        data=given(asdict(data)),
        normalize=given(asdict(settings.normalize)),
    shell:
        "python -m fieldgap normalize {params.data} --split data/split.csv --population data/demo/population.npz --out data/tiles {params.normalize} >{log} 2>&1"


rule train:
    input:
        code("train", "start", "sampling", "gradients", "replay", "recompute", "parallel", "measure", "model"),
        code("initialise", "inits", "schedules", "losses", "optimizers", "parts", "state", "claim", "stop"),
        code("identity", "sources"),
        code("spool", "outputs", "tiles", "partition", "labels", "device", "gpu", "provenance", "files", "errors"),
        lambda wildcards: own(wildcards.run, "init", "schedule", "loss", "model"),
        lambda wildcards: made(f"train@{wildcards.run}", *TILES),
    output:
        expand("runs/{{run}}/{file}", file=TRAINED),
    log:
        "logs/train/{run}.log",
    conda:
        "environment.yaml"
    threads: lambda wildcards: {**settings.train, **settings.runs[wildcards.run]}["threads"]
    resources:
        gpu=lambda wildcards: places(wildcards.run),
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        train=given(settings.train),
        item=lambda wildcards: flags(settings.runs[wildcards.run]),
    shell:
        "python -m fieldgap train --tiles data/tiles --out runs/{wildcards.run} {params.train} {params.item} >{log} 2>&1"


rule evaluate:
    input:
        code("evaluate", "examine", "measure", "model", "losses", "parts", "tiles", "labels", "device", "files"),
        code("gpu", "claim", "outputs", "partition", "errors"),
        lambda wildcards: own(wildcards.run, "loss", "model"),
        lambda wildcards: made(f"evaluate@{wildcards.run}", *TILES, FRESH, *of_run(wildcards.run, TRAINED)),
    output:
        expand("runs/{{run}}/{file}", file=EVALUATED),
    log:
        "logs/evaluate/{run}.log",
    conda:
        "environment.yaml"
    resources:
        gpu=lambda wildcards: places(wildcards.run),
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        device=settings.train["device"],
    shell:
        "python -m fieldgap evaluate --tiles data/tiles --run runs/{wildcards.run} --device {params.device} >{log} 2>&1"


rule report:
    input:
        code("report", "overview", "page", "wording", "literature", "failures", "analysis", "resample", "effects"),
        code("inference", "population", "outputs", "origins", "datasets", "partition", "sources"),
        code("compare", "overfitting", "labels", "runs", "files", "errors", *CHARTS),
        ancient(PAGE),
        made("report", *TILES, LEAKAGE, *of_runs()),
    output:
        report("reports/index.html", category="The answer", caption="reports/captions/verdict.rst"),
        [
            report(f"reports/figures/{figure}.svg", category=category, caption=f"reports/captions/{figure}.rst")
            for category, figures in FIGURES.items()
            for figure in figures
        ],
        [
            f"reports/{folder}/{figure}.{ending}"
            for folder, ending in (("png", "png"), ("captions", "rst"))
            for figure in sum(FIGURES.values(), [])
        ],
        "reports/ablation.csv",
        "reports/gap.csv",
        "reports/effects.csv",
        "reports/pairs.csv",
        "reports/summary.json",
        "reports/summary.md",
    log:
        "logs/report.log",
    conda:
        "environment.yaml"
    params:
        grid=given(settings.grid),
        report=given(asdict(settings.report)),
    shell:
        "python -m fieldgap report --runs runs --tiles data/tiles --out reports {params.grid} {params.report} >{log} 2>&1"


rule record:
    input:
        code("tracking", "tracking_store", "tracking_registry", "packing", "parcels", "spool", "provenance"),
        code("datasets", "outputs", "partition", "compare", "overfitting", "runs", "files", "errors"),
        made("record", *TILES, *of_runs(), *rules.report.output),
    output:
        recorded="reports/recorded.csv",
        due="reports/recorded.due",
    log:
        "logs/record.log",
    conda:
        "environment.yaml"
    params:
        grid=given(settings.grid),
        record=given(asdict(settings.record)),
    shell:
        "python -m fieldgap record --runs runs --reports reports --tiles data/tiles --out {output.recorded} {params.grid} {params.record} >{log} 2>&1"
