"""docs/own-parts.md, followed to the letter."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import ROOT, call
from graphs import dvc_graph, snakemake_graph

from fieldgap.base.errors import InputError
from fieldgap.parts.registry import bind, find
from fieldgap.parts.schedules import SCHEDULES
from fieldgap.settings.options import resolved
from fieldgap.settings.own import part_of
from fieldgap.settings.params import read, try_own_parts

PAGE = (ROOT / "docs/own-parts.md").read_text()
REGISTRY_END = "}\n"
SMALL = {
    "demo": {"scenes": 12, "size": 64},
    "split": {"seed": 0},
    "normalize": {"tile": 32},
    "train": {"epochs": 2, "batch_size": 4, "width": 2, "depth": 2},
}


def blocks(language: str, name: str) -> list[str]:
    """Return the page's code blocks for one file."""
    return re.findall(rf"```{language}\n# {re.escape(name)}\n(.*?)```", PAGE, re.DOTALL)


def merged(into: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Set nested values in a dictionary, in place, and return it."""
    for key, value in values.items():
        into[key] = merged(into.get(key, {}), value) if isinstance(value, dict) else value
    return into


@pytest.fixture
def owned(project: Path) -> Path:
    """Return the project after the page's edits for parts of one's own, with small values."""
    (project / "own").mkdir()
    (project / "own/parts.py").write_text(blocks("python", "own/parts.py")[0])
    params = yaml.safe_load((project / "params.yaml").read_text())
    grid, options = (yaml.safe_load(text) for text in blocks("yaml", "params.yaml"))
    params["grid"] = grid["grid"] | {"warmup_epochs": [0], "seed": [0]}
    merged(params, options)
    del params["train"]["schedule"]
    merged(params, SMALL)
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    graph = yaml.safe_load((project / "dvc.yaml").read_text())
    page = yaml.safe_load(blocks("yaml", "dvc.yaml")[0])["train"]
    graph["stages"]["train"]["matrix"] = graph["stages"]["evaluate"]["matrix"] = page["matrix"]
    graph["stages"]["train"]["deps"] += page["deps"]
    (project / "dvc.yaml").write_text(yaml.safe_dump(graph, sort_keys=False))
    return project


@pytest.mark.usefixtures("warm_tools")
@pytest.mark.slow
def test_own_parts_join_the_grid_and_an_edit_trains_only_their_runs(owned: Path) -> None:
    call(owned, "snakemake", "--cores", "2")
    table = pd.read_csv(owned / "reports/ablation.csv")
    assert list(table["run"])[-1] == "own.parts:half_kaiming-own.parts:linear_decay-0-0"
    assert len(table) == 4
    steps = pd.read_csv(owned / "runs" / table["run"].iloc[-1] / "steps.csv")
    progress = steps["step"] / len(steps)
    assert (steps["lr"] - 0.1 * (1 - 0.9 * progress)).abs().max() < 1e-12

    (owned / "own/parts.py").write_text((owned / "own/parts.py").read_text() + "\n# edited\n")
    planned = call(owned, "snakemake", "--cores", "2", "--dry-run").stdout
    trained = re.findall(r"rule train:.*?wildcards: run=(\S+)", planned, re.DOTALL)
    assert sorted(trained) == sorted(name for name in table["run"] if "own." in name)


def test_both_graphs_have_the_own_runs_with_their_options(owned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(owned)
    snakemake, dvc = snakemake_graph(owned), dvc_graph(owned)
    assert snakemake.keys() == dvc.keys()
    for name, job in snakemake.items():
        assert job.arguments == dvc[name].arguments
        if name.startswith("train"):
            assert "own/parts.py" in dvc[name].inputs
            assert ("own/parts.py" in job.inputs) == ("own.parts" in name)


def test_what_a_file_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"mine_a:f: there is no mine_a\.py"):
        find(SCHEDULES, "mine_a:f")
    Path("mine_b.py").write_text("x = 1\n")
    with pytest.raises(InputError, match=r"mine_b:f: cannot be imported from mine_b\.py \("):
        find(SCHEDULES, "mine_b:f")
    Path("mine_c.py").write_text("def f(:\n")
    with pytest.raises(InputError, match=r"mine_c:f: cannot be imported from mine_c\.py \(invalid syntax"):
        find(SCHEDULES, "mine_c:f")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"mine:f: there is no mine\.py"),
        ("x = 1", r"mine:f: mine has no `def f` at its top level; mend the file or the name"),
        ("def f(:", r"mine:f: mine\.py cannot be read as Python \(invalid syntax"),
        ("def f(*, a): ...", r"mine:f: its option a cannot be typed \(no annotation\); annotate it"),
        ("def f(*, a: open('canary', 'w')): ...", r"its option a cannot be typed \(open\('canary', 'w'\)\)"),
        ("def f(*, a: \"open('canary', 'w')\"): ...", r"its option a cannot be typed"),
        ("def f(*, a: list[int]): ...", r"its option a cannot be typed \(list\[int\]\)"),
        ("def f(*, a: tuple[int, str]): ...", r"its option a cannot be typed"),
        ("def f(*, a: float): ...", r"options\.mine:f\.a: missing"),
        ("def f(*, b: int = 1): ...", r"options\.mine:f\.a: no such key"),
    ],
)
def test_what_planning_cannot_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("mine.py").write_text(text)
    given = {"mine:f": {"a": 1}} if "no such key" in message else {}
    with pytest.raises(InputError, match=message):
        resolved(part_of(SCHEDULES, "mine:f"), "mine:f", given)
    assert not Path("canary").exists()


def test_options_are_typed_by_the_text_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "open('canary', 'w')\nimport nowhere\n"
        "def f(progress, *, a: int, b: float = -1.5, c: bool = False, d: 'str' = 'x',\n"
        "      e: tuple[float, ...] = (1.0, 2.0), g: float = nowhere.g): ...\n"
    )
    typed = resolved(part_of(SCHEDULES, "mine:f"), "mine:f", {"mine:f": {"a": "3", "e": ["1", "0.5"]}})
    assert typed == {"a": 3, "b": -1.5, "c": False, "d": "x", "e": (1.0, 0.5)}
    typed = resolved(part_of(SCHEDULES, "mine:f"), "mine:f", {"mine:f": {"a": "3", "g": "2"}})
    assert typed["g"] == 2.0
    assert not Path("canary").exists()


@pytest.mark.usefixtures("warm_tools")
@pytest.mark.parametrize("kind", ["init", "schedule", "loss"])
def test_a_dry_run_imports_nothing_of_the_users_and_a_real_one_fails_before_any_stage(owned: Path, kind: str) -> None:
    """Neither what params.yaml names, nor what an old dvc.lock does."""
    params = yaml.safe_load((owned / "params.yaml").read_text())
    params["grid"] = {"init": ["kaiming_normal"], "warmup_epochs": [0], "seed": [0]}
    params["train"] |= {"schedule": "cosine", "options": {"SGD": {"momentum": 0.9}}, kind: "own.evil:part"}
    if kind == "init":
        params["grid"]["init"] = [params["train"].pop("init")]
    (owned / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (owned / "own/evil.py").write_text("open('canary', 'w')\ndef part(*given): raise ValueError('no')\n")
    shutil.copy(ROOT / "dvc.yaml", owned)
    [command] = re.findall(r"python -m fieldgap train .*", call(owned, "snakemake", "-np").stdout)
    lock = {"schema": "2.0", "stages": {"old": {"cmd": command.partition(" >")[0], "outs": []}}}
    (owned / "dvc.lock").write_text(yaml.safe_dump(lock))
    call(owned, "snakemake", "--dry-run")
    assert not (owned / "canary").exists()

    (owned / "own/evil.py").write_text("open('canary', 'w')\nraise RuntimeError('no')\ndef part(*given): ...\n")
    for engine in (("snakemake", "--cores", "1"), ("dvc", "repro", "demo")):
        done = call(owned, *engine, check=False)
        assert "own.evil:part: cannot be imported from own/evil.py (no)" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert done.returncode
        assert (owned / "canary").exists()
        assert not (owned / "data").exists()
        (owned / "canary").unlink()


@pytest.fixture
def forgotten() -> Iterator[None]:
    """What is imported of the user's own is forgotten after the test, since other tests have modules of that name."""
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "own"]:
        del sys.modules[name]


@pytest.mark.usefixtures("forgotten")
def test_a_schedule_that_fails_is_named_before_any_stage(owned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(owned)
    monkeypatch.syspath_prepend(owned)
    (owned / "own/parts.py").write_text((owned / "own/parts.py").read_text().replace("return 1 -", "return 1 / 0 -"))
    with pytest.raises(InputError, match=r"own\.parts:linear_decay: fails when it is called \(ZeroDivisionError"):
        try_own_parts(read(owned / "params.yaml"))


def test_options_are_bound_by_name() -> None:
    assert bind(SCHEDULES, "polynomial", {"polynomial": {"power": 2.0}, "cosine": {"final": 0.5}})(0.5) == 0.25


@pytest.fixture
def with_ellipse(project: Path) -> Path:
    """Return the project, with its tests, after the page's edits for a built-in schedule."""
    for name in ("tests", "docs", "pyproject.toml", "README.md"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, project / name)
    [function] = blocks("python", "src/fieldgap/parts/schedules.py")
    [line] = blocks("python", "SCHEDULES in src/fieldgap/parts/schedules.py")
    [test] = blocks("python", "tests/parts/test_schedules.py")
    schedules, tests = project / "src/fieldgap/parts/schedules.py", project / "tests/parts/test_schedules.py"
    head, registry = schedules.read_text().split("SCHEDULES: dict")
    schedules.write_text(
        f"{head}{function}\n\nSCHEDULES: dict{registry.removesuffix(REGISTRY_END)}{line}{REGISTRY_END}"
    )
    tests.write_text(f"{tests.read_text()}\n\n{test}")
    return project


@pytest.mark.slow
def test_a_built_in_schedule_passes_the_tests_that_go_over_all_parts(with_ellipse: Path) -> None:
    [command] = re.findall(r"```sh\n(.*) > params\.schema\.json\n```", PAGE)
    (with_ellipse / "params.schema.json").write_text(call(with_ellipse, *command.split()).stdout)
    readme = "tests/whole/test_readme.py::test_readme_lists_the_parts_in_their_order"
    done = call(
        with_ellipse, "pytest", "-v", "-m", "not slow", "tests/parts/test_schedules.py", "tests/settings", readme
    )
    assert "[ellipse] PASSED" in done.stdout, "the tests of every schedule"
    assert "test_ellipse_is_its_closed_form[0.6] PASSED" in done.stdout, "its own"


@pytest.mark.usefixtures("warm_tools")
@pytest.mark.slow
def test_both_engines_train_with_a_built_in_schedule_and_report_it(with_ellipse: Path) -> None:
    params = yaml.safe_load((with_ellipse / "params.yaml").read_text())
    merged(params, SMALL)["train"]["schedule"] = "ellipse"
    params["grid"] = {"init": ["kaiming_normal"], "warmup_epochs": [0], "seed": [0]}
    (with_ellipse / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    charts = []
    for command in (("snakemake", "--cores", "2"), ("dvc", "repro", "--force")):
        call(with_ellipse, *command)
        steps = pd.read_csv(with_ellipse / "runs/kaiming_normal-0-0/steps.csv")
        assert (steps["lr"] - 0.1 * (1 - (steps["step"] / len(steps)) ** 2) ** 0.5).abs().max() < 1e-12
        charts.append((with_ellipse / "reports/figures/rates.svg").read_text())
    assert charts[0] == charts[1]
