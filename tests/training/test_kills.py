"""Trainings and engines that are killed with SIGKILL at any moment."""

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
from conftest import WARM, call, often
from killed import made
from processes import command, started, wait_until
from projects import SMALL, configure, digests

from fieldgap.base import locks
from fieldgap.training.checkpoints import root_of

LONG: dict[str, Any] = {"epochs": 40, "optimizer": "Adam", "options": {}, "ema": 0.9}
OUT, WHOLE = Path("runs/one"), Path("runs/whole")
KILLS = often(20, 60)


def in_training(process: subprocess.Popen[str]) -> bool:
    """Return whether the process has taken the lock of OUT, which it does after all imports, or has ended."""
    owner = locks.owner(root_of(OUT).with_name(f"{OUT.name}.lock"))
    return owner == str(process.pid) or process.poll() is not None


def killed(tiles: Path, after: float) -> bool:
    """Kill a training that many seconds after it took its lock. Return whether it was still alive."""
    process = started(command(tiles, OUT, **LONG), stdout=subprocess.DEVNULL)
    wait_until(lambda: in_training(process))
    time.sleep(after)
    alive = process.poll() is None
    process.kill()
    assert "damaged" not in process.communicate()[1], "a checkpoint is whole or missing"
    return alive


def finished(tiles: Path, out: Path) -> dict[str, bytes]:
    process = started(command(tiles, out, **LONG), stdout=subprocess.DEVNULL)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors
    return made(out)


@pytest.mark.slow
@pytest.mark.repeated
def test_killed_at_random_moments_the_bare_command_ends_with_the_same_bytes(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ends between two kills is compared and started again."""
    monkeypatch.chdir(tmp_path)
    whole, chance, met = finished(tiles, WHOLE), random.Random(0), 0  # noqa: S311
    while met < KILLS:
        met += killed(tiles, chance.uniform(0, 0.5))
        if (OUT / "status.json").exists() and not any(root_of(OUT).rglob("*.safetensors")):
            assert made(OUT) == whole
            shutil.rmtree(OUT)
    assert finished(tiles, OUT) == whole


def engine(project: Path, *words: str) -> subprocess.Popen[str]:
    """Start an engine in a session of its own. Its output goes to the file `output`."""
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    env["PYTHONPATH"] = str(project / "src")
    with (project / "output").open("w") as output:
        return subprocess.Popen(
            [str(Path(sys.executable).parent / words[0]), *words[1:]],
            cwd=project,
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )


ENGINES = {
    "dvc": (["dvc", "repro"], []),
    "snakemake": (["snakemake", "--cores", "2"], ["snakemake", "--unlock"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("changed", [True, False], ids=["changed", "same"])
@pytest.mark.parametrize("name", ["dvc", pytest.param("snakemake", marks=pytest.mark.endurance)])
def test_an_engine_killed_with_9_leaves_nothing_that_mixes_into_the_next_run(
    project: Path,
    tmp_path_factory: pytest.TempPathFactory,
    tools: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    changed: bool,
) -> None:
    """The rerun follows at once. With another learning rate no file is of the old one; with the same it resumes."""
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
        configure(folder, {"train": {"lr": 0.02}} if changed else {})
    if unlock:
        call(project, *unlock)
    output = call(project, *words).stdout + "".join(path.read_text() for path in project.glob("logs/train/*"))
    assert ("goes on after step" in output) != changed
    monkeypatch.setenv(WARM, str(tools))
    call(other, *words)
    assert digests(project) == digests(other)
    assert not any((project / ".fieldgap/state").rglob("*.safetensors"))
