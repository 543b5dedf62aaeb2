"""One graph, two engines: the files that hold it, and what they make."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import call
from dvc.fs import localfs
from dvc.repo import Repo
from graphs import differences, dvc_graph, snakemake_graph
from mlflow import MlflowClient
from mlflow.entities import Run
from projects import SMALL, configure, digests, experiment

from fieldgap.demo import demo
from fieldgap.engines import due
from fieldgap.engines.jobs import DEMO, calls, job_of
from fieldgap.engines.rooms import PACKAGE, ROOMS, files_in
from fieldgap.engines.stages import STAGES
from fieldgap.settings.params import read

ALL = sorted({room for rooms in ROOMS.values() for room in rooms})


def test_both_files_hold_the_same_graph(project: Path) -> None:
    snakemake, dvc = snakemake_graph(project), dvc_graph(project)
    assert {name.split()[0] for name in snakemake} == set(STAGES)
    assert len(snakemake) == 5 + 2 * 12
    assert differences(snakemake, dvc) == []


def test_what_jobs_read_and_write_is_what_both_files_list(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And each comes after those that make what it reads."""
    monkeypatch.chdir(project)
    configure(project, SMALL)
    settings = read(project / "params.yaml")
    demo.run(**DEMO, config=settings.demo)
    graph, makers, after = snakemake_graph(project), dict[Path, str](), dict[str, set[str]]()
    for name, before, given in calls(settings):
        stage, _, run = name.partition("@")
        job, listed = job_of(stage, given), graph.pop(f"{stage} runs/{run}" if run else stage)
        assert {str(path) for path in job.inputs.values()} == {p for p in listed.inputs if not p.startswith("src/")}
        assert {str(path) for path in job.outputs.values()} == listed.outputs
        assert repr(sorted(given.items())) == listed.arguments
        after[name] = {*before, *(earlier for each in before for earlier in after[each])}
        assert {makers[path] for path in job.inputs.values() if path in makers} <= after[name]
        makers |= dict.fromkeys(job.outputs.values(), name)
    assert not graph


MUTATIONS = {
    "a flag of Snakemake": ("Snakefile", "--out data/tiles {params", "--out data/tile {params"),
    "a flag of DVC": ("dvc.yaml", "--device ${train.device}", "--device cpu"),
    "a value of Snakemake": (
        "Snakefile",
        "as_flags(asdict(settings.split))",
        "as_flags({**asdict(settings.split), 'seed': 9})",
    ),
    "a room of Snakemake": ("Snakefile", '        project.code("evaluate"),\n', ""),
    "a room of DVC": ("dvc.yaml", "      - src/fieldgap/training\n", ""),
    "an input of Snakemake": (
        "Snakefile",
        'project.made("normalize", "data/split.csv", ',
        'project.made("normalize", ',
    ),
    "an input of DVC": ("dvc.yaml", "      - data/split.csv\n      - data/demo", "      - data/demo"),
    "a folder of DVC": ("dvc.yaml", "      - runs\n    params: [grid, report]", "    params: [grid, report]"),
    "an output of Snakemake": ("Snakefile", '        "reports/effects.csv",\n', ""),
    "an output of DVC": ("dvc.yaml", "      - reports/png\n    metrics", "    metrics"),
    "the runs of DVC": (
        "dvc.yaml",
        "${grid.seed}\n    cmd: python -m fieldgap train",
        "[0]\n    cmd: python -m fieldgap train",
    ),
}


@pytest.mark.usefixtures("warm_tools")
@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_comparison_sees_a_change_of_either_file(project: Path, mutation: str) -> None:
    name, old, new = MUTATIONS[mutation]
    text = (project / name).read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
    (project / name).write_text(text.replace(old, new))
    assert differences(snakemake_graph(project), dvc_graph(project))


def test_a_second_file_overrides_values_and_not_the_order_of_axes(project: Path) -> None:
    (project / "other.yaml").write_text("grid: {seed: [7], warmup_epochs: [1]}\ntrain: {epochs: 2}\n")
    told = call(project, "snakemake", "--dry-run", "--printshellcmds", "--configfile", "other.yaml").stdout
    assert set(re.findall(r"wildcards: run=(\S+)", told)) == {"kaiming_normal-1-7", "xavier_normal-1-7"}
    assert "--epochs 2 " in told


def test_a_train_key_becomes_an_axis_by_moving_it(project: Path) -> None:
    """One edit in params.yaml, and under DVC one line in each matrix, as README says."""
    params = yaml.safe_load((project / "params.yaml").read_text())
    del params["train"]["lr"]
    params["grid"]["lr"] = [0.05, 0.1]
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    text = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(text.replace("seed: ${grid.seed}", "seed: ${grid.seed}\n      lr: ${grid.lr}"))
    snakemake = snakemake_graph(project)
    assert "train runs/xavier_normal-3-2-0.05" in snakemake
    assert len(snakemake) == 5 + 2 * 24
    assert differences(snakemake, dvc_graph(project)) == []


def test_each_stage_lists_the_files_of_its_rooms_and_no_other_sources(project: Path) -> None:
    files = {room: {f"src/fieldgap/{path.relative_to(PACKAGE).as_posix()}" for path in files_in(room)} for room in ALL}
    for name, job in snakemake_graph(project).items():
        listed = {path for path in job.inputs if path.startswith("src/")}
        assert listed == set().union(*(files[room] for room in ROOMS[name.split()[0]])), name
    for name, job in dvc_graph(project).items():
        listed = {path for path in job.inputs if path.startswith("src/")}
        assert listed == {f"src/fieldgap/{room}" for room in ROOMS[name.split()[0]]}, name


def test_dvc_counts_the_files_of_a_room_that_its_key_counts(project: Path) -> None:
    """Else what an editor or Python leaves there would be a change to the one and none to the other."""
    for name in (".hidden.py", "draft.py~", "#draft.py#", "notes.txt", "plain", "__pycache__/x.pyc"):
        path = project / "src/fieldgap/base" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("anything")
    with Repo(str(project)) as repo:
        for room in ALL:
            found = repo.dvcignore.find(localfs, str(project / "src/fieldgap" / room))
            names = {Path(path).relative_to(project / "src/fieldgap") for path in found}
            assert names == {path.relative_to(PACKAGE) for path in files_in(room)}, room


def test_dvc_counts_no_drafts(project: Path) -> None:
    """Else what a kill leaves in a folder that DVC tracks would be part of that folder's digest."""
    folder = project / "data/demo/images"
    folder.mkdir(parents=True)
    for name in ("scene_000.png", ".scene_000.png.10970.draft", ".vtW1r9Npr4RLAe2WCtQWtQ.tmp"):
        (folder / name).touch()
    with Repo(str(project)) as repo:
        assert list(repo.dvcignore.find(localfs, str(folder))) == [str(folder / "scene_000.png")]


@pytest.mark.usefixtures("warm_tools")
@pytest.mark.slow
def test_both_engines_make_the_same_bytes_and_then_have_nothing_to_do(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other") / "clone"
    subprocess.run(["cp", "-r", str(project), str(other)], check=True)
    for folder in (project, other):
        configure(folder, SMALL)
    call(project, "snakemake", "--cores", "2")
    call(other, "dvc", "repro")
    made = digests(project)
    assert len(made) == 24 + 1 + 1 + 6 + 4 * 10 + 46 + 2
    assert made == digests(other)

    assert "Nothing to be done" in call(project, "snakemake", "--cores", "2").stderr
    again = call(other, "dvc", "repro").stdout
    assert "Running stage" not in again
    assert made == digests(other)
    before = {path: path.stat().st_mtime_ns for path in (project / "runs").rglob("*.safetensors")}

    configure(project, {"grid": {"warmup_epochs": [1]}})
    told = call(project, "snakemake", "--cores", "2").stderr
    assert "rule report" in told
    assert "rule train" not in told
    assert before == {path: path.stat().st_mtime_ns for path in (project / "runs").rglob("*.safetensors")}

    references = []
    for levels in (["kaiming_normal", "xavier_normal"], ["xavier_normal", "kaiming_normal"]):
        for folder in (project, other):
            configure(folder, {"grid": {"init": levels, "warmup_epochs": [0, 1]}})
        assert "rule train" not in call(project, "snakemake", "--cores", "2").stderr
        assert "Running stage 'train@" not in call(other, "dvc", "repro").stdout
        assert digests(project) == digests(other)
        effects = pd.read_csv(project / "reports/effects.csv")
        references.append(set(effects[effects["axis"] == "init"]["from"]))
    assert references == [{"kaiming_normal"}, {"xavier_normal"}], "each level is compared with the first of its axis"


@pytest.mark.usefixtures("warm_tools")
@pytest.mark.slow
def test_whatever_comes_from_a_cache_is_recorded_all_the_same(project: Path) -> None:
    """`dvc repro` forth and back reaches one store twice, and a second store that never saw a training."""
    configure(project, {**SMALL, "grid": {"init": ["kaiming_normal"], "warmup_epochs": [0, 1], "seed": [0]}})
    for rate in (0.1, 0.2, 0.1):
        configure(project, {"train": {"lr": rate}})
        told = call(project, "dvc", "repro").stdout
    assert "Running stage 'train@" not in told
    runs = experiment(project, "mlflow.db")
    names = ["kaiming_normal-0-0", "kaiming_normal-1-0"]
    assert set(runs) == {(name, rate) for name in names for rate in ("0.1", "0.2")}
    assert {key: tags["current"] for key, tags in runs.items()} == {key: str(key[1] == "0.1").lower() for key in runs}

    configure(project, {"train": {"lr": 0.2}, "record": {"store": "sqlite:///second.db"}})
    told = call(project, "dvc", "repro").stdout
    assert "Running stage 'train@" not in told
    runs = experiment(project, "second.db")
    assert {key: tags["restored"] for key, tags in runs.items()} == dict.fromkeys([(n, "0.2") for n in names], "true")


@pytest.mark.endurance  # The mirror has the lowest priority and needs a core that is idle.
def test_under_snakemake_a_refused_record_is_due_again_and_trainings_show_while_they_run(project: Path) -> None:
    long = {"init": ["kaiming_normal"], "warmup_epochs": [0], "seed": [0]}
    configure(project, {**SMALL, "grid": long, "record": {"store": "http://127.0.0.1:9"}})
    told = call(project, "snakemake", "--cores", "2")
    assert "does not accept records" in told.stdout + told.stderr
    configure(project, {"record": {"store": "sqlite:///mlflow.db"}})
    assert "does not accept records" not in call(project, "snakemake", "--cores", "2").stdout
    assert len(experiment(project, "mlflow.db")) == 1
    assert "Nothing to be done" in call(project, "snakemake", "--cores", "2").stderr

    configure(project, {"train": {"epochs": 4000}})
    client = MlflowClient(tracking_uri=f"sqlite:///{project}/mlflow.db")
    command = [str(Path(sys.executable).parent / "snakemake"), "--cores", "2"]
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(project / "src"),
    }
    with subprocess.Popen(command, cwd=project, env=env, stderr=subprocess.DEVNULL):
        run = wait_for(lambda: client.search_runs(["1"], "attributes.status = 'RUNNING' and metrics.val_iou >= 0"))
        assert run.data.params["epochs"] == "4000"
        os.kill(training_in(project), signal.SIGTERM)  # Snakemake itself would wait for its end.
    run = wait_for(
        lambda: client.search_runs(["1"], f"attributes.run_id = '{run.info.run_id}' and attributes.status = 'KILLED'")
    )
    assert 0 < len(client.get_metric_history(run.info.run_id, "val_iou")) < 4000


def training_in(project: Path) -> int:
    """Return the id of the process that trains in a project's folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes()
            if b"fieldgap\0train\0" in words and words.startswith(b"python") and (process / "cwd").resolve() == project:
                return int(process.name)
    raise AssertionError("no training is under way")


def wait_for(search: Callable[[], list[Run]]) -> Run:
    """Return the first run that a search finds within two minutes."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if found := search():
            return found[0]
        time.sleep(0.5)
    raise AssertionError("no such run")


def refusals(project: Path) -> tuple[str, str]:
    """Return what Snakemake and DVC print about a project that both must refuse."""
    said = []
    for command in (("snakemake", "--cores", "1"), ("dvc", "repro")):
        done = call(project, *command, check=False)
        assert done.returncode != 0
        assert "Traceback" not in done.stdout + done.stderr
        said.append(done.stdout + done.stderr)
    assert not digests(project)
    return said[0], said[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"epohcs": 3}}, "train.epohcs: no such key (did you mean epochs?)"),
        ({"train": {"epochs": "many"}}, "train.epochs: 'many' is not allowed; write a whole number"),
        ({"grid": {"init": ["kaiming_normal", "glorot"]}}, "grid.init: 'glorot' is not allowed"),
    ],
)
def test_bad_parameters_are_refused_before_anything_is_computed(
    project: Path, changes: dict[str, dict[str, object]], message: str
) -> None:
    configure(project, SMALL)
    configure(project, changes)
    for said in refusals(project):
        assert message in said


def test_a_missing_folder_is_refused_before_anything_is_computed(project: Path) -> None:
    configure(project, {**SMALL, "data": {"images": "nowhere", "masks": "nowhere"}})
    snakemake, dvc = refusals(project)
    assert "nowhere: no such folder; set data.images" in snakemake
    assert "nowhere: no such folder; set data.images" in dvc


def test_a_job_elsewhere_judges_nothing_and_refuses_other_values_than_it_was_planned_with(
    project: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snakemake is started as executors start it there, for the split alone."""
    job = "snakemake --mode remote --force --cores 1 --target-jobs split: --allowed-rules split".split()
    configure(project, {**SMALL, "data": {"images": str(scenes / "images"), "masks": str(scenes / "masks")}})
    monkeypatch.setenv(due.VALUES, due.digest_of(read(project / "params.yaml")))
    configure(project, {"engine": {"runs_per_gpu": 9}})
    call(project, *job)
    assert set(digests(project)) == {"data/split.csv"}
    assert not (project / due.MARK).exists()
    configure(project, {"train": {"lr": 0.3}})
    done = call(project, *job, check=False)
    assert done.returncode == 1
    assert "params.yaml: changed while this job waited" in done.stderr


def test_own_scenes_need_no_drawing(project: Path, scenes: Path) -> None:
    configure(project, {**SMALL, "data": {"images": str(scenes / "images"), "masks": str(scenes / "masks")}})
    call(project, "snakemake", "--cores", "2", "data/split.csv")
    assert set(digests(project)) == {"data/split.csv"}
