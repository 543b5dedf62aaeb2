"""Runs that share GPUs, on a machine whose driver lists two."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from conftest import call
from two_engines import SMALLEST, configure

from fieldgap.base import environment
from fieldgap.tracking import spools

# The start of a stage, with as many GPUs as its first argument says. It prints the one that torch uses, and waits.
STAGE = """
import sys, torch
from fieldgap.network.device import prepare
gpus, chosen = int(sys.argv[1]), ["unset"]
torch.cuda.is_available, torch.cuda.device_count = lambda: gpus > 0, lambda: gpus
torch.cuda.set_device = lambda index: chosen.append(str(index))
print(prepare(sys.argv[2], 1), chosen[-1], flush=True)
sys.stdin.read()
"""
RUNS = ("kaiming_normal-0-0", "kaiming_normal-0-1")


@pytest.fixture
def driver(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a stand-in for the driver's program, which lists two GPUs, in front of PATH."""
    program = tmp_path_factory.mktemp("driver") / "nvidia-smi"
    program.write_text('#!/bin/sh\nfor gpu in 0 1; do echo "GPU $gpu: a stand-in (UUID: GPU-$gpu)"; done\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return program


def test_the_gpus_that_the_driver_lists_and_nobody_hides_are_counted(
    driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert environment.gpu_count() == 2
    for visible, count in {"1": 1, "1,0": 2, "GPU-1": 1, "0,1,2": 2, "": 0, "-1": 0}.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert environment.gpu_count() == count, visible
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    driver.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed because it could not reach the driver'\nexit 9\n")
    assert environment.gpu_count() == 0
    monkeypatch.setenv("PATH", str(driver.parent))
    driver.unlink()
    assert environment.gpu_count() == 0


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[str, Popen[str]]]]:
    """Return a function that starts a stage on so many GPUs, and returns its device and its process."""
    monkeypatch.chdir(tmp_path)
    started: list[Popen[str]] = []

    def begin(gpus: int, device: str = "auto", **env: str) -> tuple[str, Popen[str]]:
        words = [sys.executable, "-c", STAGE, str(gpus), device]
        started.append(Popen(words, stdin=PIPE, stdout=PIPE, text=True, env={**os.environ, **env}))
        return started[-1].stdout.readline().strip(), started[-1]  # type: ignore[union-attr]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_a_stage_uses_the_gpu_with_the_fewest_and_leaves_it_also_when_killed(
    stages: Callable[..., tuple[str, Popen[str]]],
) -> None:
    begun = [stages(2) for _ in range(4)]
    assert [where for where, _ in begun] == ["cuda 0", "cuda 1", "cuda 0", "cuda 1"]
    begun[1][1].kill()
    begun[1][1].wait()
    assert stages(2)[0] == "cuda 1"
    assert stages(2)[0] == "cuda 0"


def test_with_one_gpu_or_none_or_under_torchrun_nothing_is_chosen(
    stages: Callable[..., tuple[str, Popen[str]]],
) -> None:
    assert stages(1)[0] == "cuda unset"
    assert stages(0)[0] == "cpu unset"
    assert stages(2, "cpu")[0] == "cpu unset"
    assert not Path(".fieldgap").exists()
    assert [stages(2, LOCAL_RANK=rank)[0] for rank in "10"] == ["cuda 1", "cuda 0"]


@pytest.mark.parametrize(("device", "places"), [("auto", "1"), ("cuda", "1"), ("cpu", "0")])
def test_a_run_takes_a_place_unless_it_is_for_the_cpu(project: Path, device: str, places: str) -> None:
    configure(project, "train", device=device)
    plan = call(project, "snakemake", "--dry-run").stdout
    jobs = re.findall(r"^rule (\w+):.*?^    resources: (.*?)$", plan, re.MULTILINE | re.DOTALL)
    taken = {(rule, re.findall(r"gpu=(\d+)", text)[0]) for rule, text in jobs if rule in ("train", "evaluate")}
    assert taken == {("train", places), ("evaluate", places)}


def spans(project: Path) -> list[tuple[int, int]]:
    """Train both runs of the smallest grid on two cores. Return when each began and ended, the earlier first."""
    for block, values in SMALLEST.items():
        configure(project, block, **values)
    configure(project, "train", epochs=30)
    call(project, "snakemake", "--cores", "2", *(f"runs/{run}/status.json" for run in RUNS))
    times = sorted((spool.started, spool.ended) for spool in spools.read_all(project / ".fieldgap/spool"))
    assert len(times) == len(RUNS)
    return times


@pytest.mark.usefixtures("warm_tools")
@pytest.mark.slow
@pytest.mark.parametrize(("visible", "runs_per_gpu", "together"), [("0", 1, False), ("0", 2, True), ("0,1", 1, True)])
@pytest.mark.usefixtures("driver")
def test_at_most_runs_per_gpu_share_a_gpu(
    project: Path, monkeypatch: pytest.MonkeyPatch, visible: str, runs_per_gpu: int, together: bool
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    configure(project, "engine", runs_per_gpu=runs_per_gpu)
    overlap = any(ended > began for (_, ended), (began, _) in itertools.pairwise(spans(project)))
    assert overlap == together


@pytest.mark.usefixtures("warm_tools")
@pytest.mark.slow
def test_without_a_gpu_runs_only_wait_for_cores(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    configure(project, "engine", runs_per_gpu=1)
    (_, ended), (began, _) = spans(project)
    assert ended > began


@pytest.mark.usefixtures("warm_tools")
@pytest.mark.slow
def test_how_many_runs_share_a_gpu_changes_no_result(project: Path) -> None:
    for block, values in SMALLEST.items():
        configure(project, block, **values)
    call(project, "snakemake", "--cores", "2", "reports/index.html")
    configure(project, "engine", runs_per_gpu=3)
    assert "Nothing to be done" in call(project, "snakemake", "--cores", "2", "reports/index.html").stderr
