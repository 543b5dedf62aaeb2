"""Runs that share GPUs, on a machine whose driver says that it has two."""

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

# A stage's beginning, told how many GPUs torch finds. It says which one became torch's current, and waits.
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
    """The driver's program that lists two GPUs, as a file in front of PATH."""
    program = tmp_path_factory.mktemp("driver") / "nvidia-smi"
    program.write_text('#!/bin/sh\nfor each in 0 1; do echo "GPU $each: one that is none (UUID: GPU-$each)"; done\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return program


def test_gpus_are_counted_where_the_driver_lists_them_and_they_are_not_hidden(
    driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert environment.gpu_count() == 2
    for chosen, seen in {"1": 1, "1,0": 2, "GPU-1": 1, "0,1,2": 2, "": 0, "-1": 0}.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
        assert environment.gpu_count() == seen, chosen
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    driver.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed because it could not reach the driver'\nexit 9\n")
    assert environment.gpu_count() == 0
    monkeypatch.setenv("PATH", str(driver.parent))
    driver.unlink()
    assert environment.gpu_count() == 0


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[str, Popen[str]]]]:
    """Begins a stage on a machine with as many GPUs as told -> the device that it computes on, and the stage."""
    monkeypatch.chdir(tmp_path)
    started: list[Popen[str]] = []

    def begin(gpus: int, device: str = "auto", **env: str) -> tuple[str, Popen[str]]:
        words = [sys.executable, "-c", STAGE, str(gpus), device]
        started.append(Popen(words, stdin=PIPE, stdout=PIPE, text=True, env={**os.environ, **env}))
        return started[-1].stdout.readline().strip(), started[-1]  # type: ignore[union-attr]

    yield begin
    for each in started:
        each.kill()
        each.communicate()


def test_stages_go_to_the_gpu_with_the_fewest_and_leave_it_also_when_killed(
    stages: Callable[..., tuple[str, Popen[str]]],
) -> None:
    begun = [stages(2) for _ in range(4)]
    assert [where for where, _ in begun] == ["cuda 0", "cuda 1", "cuda 0", "cuda 1"]
    begun[1][1].kill()
    begun[1][1].wait()
    assert stages(2)[0] == "cuda 1"
    assert stages(2)[0] == "cuda 0"


def test_one_gpu_and_none_need_no_choice_and_torchrun_has_made_it(
    stages: Callable[..., tuple[str, Popen[str]]],
) -> None:
    assert stages(1)[0] == "cuda unset"
    assert stages(0)[0] == "cpu unset"
    assert stages(2, "cpu")[0] == "cpu unset"
    assert not Path(".fieldgap").exists()
    assert [stages(2, LOCAL_RANK=rank)[0] for rank in "10"] == ["cuda 1", "cuda 0"]


@pytest.mark.parametrize(("device", "takes"), [("auto", "1"), ("cuda", "1"), ("cpu", "0")])
def test_a_run_takes_a_place_unless_it_is_to_run_on_the_cpu(project: Path, device: str, takes: str) -> None:
    configure(project, "train", device=device)
    told = call(project, "snakemake", "--dry-run").stdout
    jobs = re.findall(r"^rule (\w+):.*?^    resources: (.*?)$", told, re.MULTILINE | re.DOTALL)
    assert {(rule, re.findall(r"gpu=(\d+)", told)[0]) for rule, told in jobs if rule in ("train", "evaluate")} == {
        ("train", takes),
        ("evaluate", takes),
    }


def spans(project: Path) -> list[tuple[int, int]]:
    """Trains both runs of the smallest grid, on two cores -> when each began and ended, the earlier first."""
    for block, values in SMALLEST.items():
        configure(project, block, **values)
    configure(project, "train", epochs=30)
    call(project, "snakemake", "--cores", "2", *(f"runs/{run}/status.json" for run in RUNS))
    found = sorted((each.started, each.ended) for each in spools.read_all(project / ".fieldgap/spool"))
    assert len(found) == len(RUNS)
    return found


@pytest.mark.usefixtures("warm_tools")
@pytest.mark.slow
@pytest.mark.parametrize(("chosen", "runs_per_gpu", "wanted"), [("0", 1, False), ("0", 2, True), ("0,1", 1, True)])
@pytest.mark.usefixtures("driver")
def test_as_many_runs_as_wanted_share_a_gpu(
    project: Path, monkeypatch: pytest.MonkeyPatch, chosen: str, runs_per_gpu: int, wanted: bool
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    configure(project, "engine", runs_per_gpu=runs_per_gpu)
    together = any(ended > began for (_, ended), (began, _) in itertools.pairwise(spans(project)))
    assert together == wanted


@pytest.mark.usefixtures("warm_tools")
@pytest.mark.slow
def test_without_a_gpu_runs_wait_for_cores_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
