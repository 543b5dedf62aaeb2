"""docs/own-parts.md, done as it says."""

from __future__ import annotations

import re
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

PAGE = (ROOT / "docs/own-parts.md").read_text()


def blocks(language: str, name: str) -> list[str]:
    """-> the page's code blocks of one file."""
    return re.findall(rf"```{language}\n# {re.escape(name)}\n(.*?)```", PAGE, re.DOTALL)


def merged(into: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    for key, value in values.items():
        into[key] = merged(into.get(key, {}), value) if isinstance(value, dict) else value
    return into


@pytest.fixture
def owned(project: Path) -> Path:
    """The project after the page's edits, at the smallest size."""
    (project / "own").mkdir()
    (project / "own/parts.py").write_text(blocks("python", "own/parts.py")[0])
    params = yaml.safe_load((project / "params.yaml").read_text())
    grid, options = (yaml.safe_load(text) for text in blocks("yaml", "params.yaml"))
    params["grid"] = grid["grid"] | {"warmup_epochs": [0], "seed": [0]}
    merged(params, options)
    del params["train"]["schedule"]
    small = {"demo": {"scenes": 12, "size": 64}, "split": {"seed": 0}, "normalize": {"tile": 32}}
    merged(params, {**small, "train": {"epochs": 2, "batch_size": 4, "width": 2, "depth": 2}})
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    graph = yaml.safe_load((project / "dvc.yaml").read_text())
    page = yaml.safe_load(blocks("yaml", "dvc.yaml")[0])["train"]
    graph["stages"]["train"]["matrix"] = graph["stages"]["evaluate"]["matrix"] = page["matrix"]
    graph["stages"]["train"]["deps"] += page["deps"]
    (project / "dvc.yaml").write_text(yaml.safe_dump(graph, sort_keys=False))
    return project


@pytest.mark.usefixtures("warm_tools")
@pytest.mark.slow
def test_own_parts_stand_in_the_grid_and_an_edit_trains_their_runs_alone(owned: Path) -> None:
    call(owned, "snakemake", "--cores", "2")
    table = pd.read_csv(owned / "reports/ablation.csv")
    assert list(table["run"])[-1] == "own.parts:half_kaiming-own.parts:linear_decay-0-0"
    assert len(table) == 4
    steps = pd.read_csv(owned / "runs" / table["run"].iloc[-1] / "steps.csv")
    progress = steps["step"] / len(steps)
    assert (steps["lr"] - 0.1 * (1 - 0.9 * progress)).abs().max() < 1e-12

    (owned / "own/parts.py").write_text((owned / "own/parts.py").read_text() + "\n# edited\n")
    told = call(owned, "snakemake", "--cores", "2", "--dry-run").stdout
    trained = re.findall(r"rule train:.*?wildcards: run=(\S+)", told, re.DOTALL)
    assert sorted(trained) == sorted(name for name in table["run"] if "own." in name)


def test_both_graphs_hold_the_own_runs_with_their_options(owned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(owned)
    snakemake, dvc = snakemake_graph(owned), dvc_graph(owned)
    assert snakemake.keys() == dvc.keys()
    for name, job in snakemake.items():
        assert job.arguments == dvc[name].arguments
        if name.startswith("train"):
            assert "own/parts.py" in dvc[name].inputs
            assert ("own/parts.py" in job.inputs) == ("own.parts" in name)


def test_what_a_file_does_not_give_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"mine_a:f: there is no mine_a\.py"):
        find(SCHEDULES, "mine_a:f")
    Path("mine_b.py").write_text("x = 1\n")
    with pytest.raises(InputError, match=r"mine_b:f: mine_b\.py does not give it"):
        find(SCHEDULES, "mine_b:f")
    Path("mine_c.py").write_text("def f(:\n")
    with pytest.raises(InputError, match=r"mine_c:f: mine_c\.py does not give it \(invalid syntax"):
        find(SCHEDULES, "mine_c:f")


def test_options_are_bound_by_name() -> None:
    assert bind(SCHEDULES, "polynomial", {"polynomial": {"power": 2.0}, "cosine": {"final": 0.5}})(0.5) == 0.25


@pytest.mark.usefixtures("warm_tools")
@pytest.mark.slow
def test_a_built_in_schedule_is_one_function_and_one_line(project: Path) -> None:
    """The page's diff, applied to a clone: both engines train with it and report it."""
    path = project / "src/fieldgap/parts/schedules.py"
    function = blocks("python", "src/fieldgap/parts/schedules.py")[0]
    line = blocks("python", "SCHEDULES in src/fieldgap/parts/schedules.py")[0]
    text = path.read_text()
    assert text.count("SCHEDULES: dict") == 1
    head, registry = text.split("SCHEDULES: dict")
    path.write_text(f"{head}{function}\n\nSCHEDULES: dict{registry.replace(chr(10) + '}', chr(10) + line + '}', 1)}")
    params = yaml.safe_load((project / "params.yaml").read_text())
    small = {"demo": {"scenes": 12, "size": 64}, "split": {"seed": 0}, "normalize": {"tile": 32}}
    merged(params, {**small, "train": {"epochs": 2, "batch_size": 4, "width": 2, "depth": 2, "schedule": "ellipse"}})
    params["grid"] = {"init": ["kaiming_normal"], "warmup_epochs": [0], "seed": [0]}
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    seen = []
    for command in (("snakemake", "--cores", "2"), ("dvc", "repro", "--force")):
        call(project, *command)
        steps = pd.read_csv(project / "runs/kaiming_normal-0-0/steps.csv")
        assert (steps["lr"] - 0.1 * (1 - (steps["step"] / len(steps)) ** 2) ** 0.5).abs().max() < 1e-12
        seen.append((project / "reports/figures/rates.svg").read_text())
    assert seen[0] == seen[1]
