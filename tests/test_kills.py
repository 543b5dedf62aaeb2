"""Trainings and engines that are killed with SIGKILL, which nobody can prepare for, at any moment."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, call
from test_claim import command, started, wait_until
from test_engines import SMALL, configure, digests
from test_state import made

from fieldgap.cli import main

LONG: dict[str, Any] = {"epochs": 12, "optimizer": "Adam", "options": {}, "ema": 0.9}


def killed_until_it_ends(tiles: Path, out: Path, kills: int, latest: float, seed: int) -> int:
    """Starts the bare command again and again and kills it after a random time -> how often that met it alive."""
    chance, met = random.Random(seed), 0  # noqa: S311
    for _ in range(kills):
        process = started(command(tiles, out, **LONG), stdout=subprocess.DEVNULL)
        time.sleep(chance.uniform(0, latest))
        met += process.poll() is None
        process.kill()
        process.communicate()
        if (out / "status.json").exists():
            shutil.rmtree(out)  # Ended before it was killed: as engines do, from the start.
    process = started(command(tiles, out, **LONG), stdout=subprocess.DEVNULL)
    told = process.communicate()[1]
    assert process.returncode == 0, told
    assert "damaged" not in told, "a state is whole or not there"
    return met


@pytest.mark.parametrize(("kills", "seed"), [(2, 0), pytest.param(60, 1, marks=pytest.mark.slow)])
def test_killed_at_random_moments_the_bare_command_ends_with_the_same_bytes(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int, seed: int
) -> None:
    monkeypatch.chdir(tmp_path)
    began = time.monotonic()
    process = started(command(tiles, Path("runs/whole"), **LONG), stdout=subprocess.DEVNULL)
    process.communicate()
    whole = time.monotonic() - began
    met = killed_until_it_ends(tiles, Path("runs/one"), kills, whole, seed)
    assert made(Path("runs/one")) == made(Path("runs/whole"))
    assert met >= kills * 5 // 6


def engine(project: Path, *words: str) -> subprocess.Popen[str]:
    """-> an engine under way in a session of its own, its words in a file `told`."""
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    env["PYTHONPATH"] = str(project / "src")
    with (project / "told").open("w") as told:
        return subprocess.Popen(
            [str(Path(sys.executable).parent / words[0]), *words[1:]],
            cwd=project,
            env=env,
            stdout=told,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )


ENGINES = {
    "dvc": (["dvc", "repro"], []),
    "snakemake": (["snakemake", "--cores", "2"], ["snakemake", "--unlock"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_killed_with_9_leaves_nothing_that_mixes_into_the_next_run(
    project: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """The learning rate changes between the kill and the rerun, at once: no file may be of the old one."""
    words, unlock = ENGINES[name]
    grid = {"init": ["kaiming_normal"], "warmup_epochs": [0, 1], "seed": [0]}
    configure(project, {**SMALL, "train": {**SMALL["train"], "epochs": 60}, "grid": grid})
    other = tmp_path_factory.mktemp("other") / "clone"
    subprocess.run(["cp", "-r", str(project), str(other)], check=True)
    process = engine(project, *words)
    wait_until(lambda: any((project / ".fieldgap/state").rglob("*.safetensors")))
    process.kill()
    process.wait()
    for folder in (project, other):
        configure(folder, {"train": {"lr": 0.02}})
    if unlock:
        call(project, *unlock)
    call(project, *words)
    call(other, *words)
    assert digests(project) == digests(other)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
def test_under_an_engine_killed_with_9_and_rerun_a_training_goes_on(project: Path, name: str) -> None:
    words, unlock = ENGINES[name]
    grid = {"init": ["kaiming_normal"], "warmup_epochs": [0], "seed": [0]}
    configure(project, {**SMALL, "train": {**SMALL["train"], "epochs": 60}, "grid": grid})
    process = engine(project, *words)
    wait_until(lambda: any((project / ".fieldgap/state").rglob("*.safetensors")))
    process.kill()
    process.wait()
    if unlock:
        call(project, *unlock)
    told = call(project, *words)
    log = project / "logs/train/kaiming_normal-0-0.log"
    assert "goes on after step" in told.stdout + (log.read_text() if log.exists() else "")
    run, made_by_engine = project / "runs/kaiming_normal-0-0", digests(project)
    assert not any((project / ".fieldgap/state").rglob("*.safetensors"))
    for path in run.iterdir():
        path.unlink()
    call(project, *words)
    assert digests(project) == made_by_engine


def test_the_bare_command_is_that_of_the_engines() -> None:
    """What is killed above is started as both engine files start it."""
    assert command(Path("data/tiles"), Path("runs/one"))[:3] == ["-m", "fieldgap", "train"]
    assert callable(main)
    assert (ROOT / "dvc.yaml").read_text().count("python -m fieldgap train --tiles data/tiles") == 1
