"""The pipeline under Snakemake. dvc.yaml has the same stages, and a test compares the two."""

import sys
from dataclasses import asdict

sys.path.insert(0, "src")  # This project's own sources, as its stages use them, wherever fieldgap is installed.

from fieldgap.base.names import CATEGORIES, EVALUATED, FIGURES, FRESH, LEAKAGE, TILES, TRAINED
from fieldgap.engines import forcing
from fieldgap.engines.workflow import Project, as_flags, gpu_places, places_on_gpu, plain
from fieldgap.settings.params import flags


configfile: plain("params.yaml")


project = Project(config, whole=workflow.is_main_process)
settings = project.settings
tiles = expand("data/tiles/{file}", file=TILES)
if workflow.is_main_process and "gpu" not in workflow.global_resources and (places := gpu_places(settings)):
    workflow.register_resource("gpu", places)


wildcard_constraints:
    run=r"[^/]+",


# The limit on GPUs is for this machine. A cluster has its own.
resource_scopes:
    gpu="local",


# Not worth a place in a cluster's queue. Also, record writes to a database, which nodes must not do.
localrules:
    all,
    split,
    record,


onstart:
    forcing.export(workflow.dag_settings)
    project.start()


onsuccess:
    project.end()


rule all:
    input:
        "reports/index.html",
        "reports/recorded.csv",


rule demo:
    input:
        project.code("demo"),
        project.made("demo"),
    output:
        "data/demo/fresh.npz",
        **project.drawn,
    log:
        "logs/demo.log",
    conda:
        "environment.yaml"
    params:
        as_flags(asdict(settings.demo)),
    shell:
        "python -m fieldgap demo --images data/demo/images --masks data/demo/masks --fresh_scenes data/demo/fresh.npz {params} >{log} 2>&1"


rule split:
    input:
        project.code("split"),
        project.supplied(settings.split.table),
        project.scenes_for("split"),
    output:
        "data/split.csv",
    log:
        "logs/split.log",
    conda:
        "environment.yaml"
    params:
        data=as_flags(asdict(settings.data)),
        split=as_flags(asdict(settings.split)),
    shell:
        "python -m fieldgap split {params.data} --out {output} {params.split} >{log} 2>&1"


rule normalize:
    input:
        project.code("normalize"),
        project.scenes_for("normalize"),
        project.made("normalize", "data/split.csv", *project.fresh),
    output:
        tiles,
        expand("data/tiles/{file}", file=[LEAKAGE, FRESH]),
    log:
        "logs/normalize.log",
    conda:
        "environment.yaml"
    params:
        data=as_flags(asdict(settings.data)),
        normalize=as_flags(asdict(settings.normalize)),
    shell:
        "python -m fieldgap normalize {params.data} --split data/split.csv --fresh_scenes data/demo/fresh.npz --out data/tiles {params.normalize} >{log} 2>&1"


rule train:
    input:
        project.code("train"),
        lambda wildcards: project.own(wildcards.run, "init", "schedule", "loss", "model"),
        lambda wildcards: project.made(f"train@{wildcards.run}", *tiles),
    output:
        expand("runs/{{run}}/{file}", file=TRAINED),
    log:
        "logs/train/{run}.log",
    conda:
        "environment.yaml"
    threads: lambda wildcards: project.values(wildcards.run)["threads"]
    resources:
        gpu=lambda wildcards: places_on_gpu(project.values(wildcards.run), here=workflow.local_exec),
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        train=as_flags(settings.train),
        item=lambda wildcards: flags(settings.runs[wildcards.run]),
    shell:
        "python -m fieldgap train --tiles data/tiles --out runs/{wildcards.run} {params.train} {params.item} >{log} 2>&1"


rule evaluate:
    input:
        project.code("evaluate"),
        lambda wildcards: project.own(wildcards.run, "loss", "model"),
        lambda wildcards: project.made(
            f"evaluate@{wildcards.run}",
            *tiles,
            f"data/tiles/{FRESH}",
            *expand("runs/{run}/{file}", run=wildcards.run, file=TRAINED),
        ),
    output:
        expand("runs/{{run}}/{file}", file=EVALUATED),
    log:
        "logs/evaluate/{run}.log",
    conda:
        "environment.yaml"
    resources:
        gpu=lambda wildcards: places_on_gpu(project.values(wildcards.run), here=workflow.local_exec),
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        device=settings.train["device"],
    shell:
        "python -m fieldgap evaluate --tiles data/tiles --run runs/{wildcards.run} --device {params.device} >{log} 2>&1"


rule report:
    input:
        project.code("report"),
        project.made("report", *tiles, f"data/tiles/{LEAKAGE}", *project.results()),
    output:
        report("reports/index.html", category="The answer", caption="reports/captions/verdict.rst"),
        [
            report(f"reports/figures/{figure}.svg", category=category, caption=f"reports/captions/{figure}.rst")
            for category, figures in CATEGORIES.items()
            for figure in figures
        ],
        expand("reports/png/{figure}.png", figure=FIGURES),
        expand("reports/captions/{figure}.rst", figure=FIGURES),
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
        grid=as_flags(settings.grid),
        report=as_flags(asdict(settings.report)),
    shell:
        "python -m fieldgap report --runs runs --tiles data/tiles --out reports {params.grid} {params.report} >{log} 2>&1"


rule record:
    input:
        project.code("record"),
        project.made("record", *tiles, *project.results(), *rules.report.output),
    output:
        recorded="reports/recorded.csv",
        due="reports/recorded.due",
    log:
        "logs/record.log",
    conda:
        "environment.yaml"
    params:
        grid=as_flags(settings.grid),
        record=as_flags(asdict(settings.record)),
    shell:
        "python -m fieldgap record --runs runs --reports reports --tiles data/tiles --out {output.recorded} {params.grid} {params.record} >{log} 2>&1"
