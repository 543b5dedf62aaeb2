"""Runs that share a GPU, on a machine whose driver says that it has one."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

import pytest
from conftest import call
from two_engines import SMALLEST, configure

from fieldgap import gpu, spool

RUNS = ("kaiming_normal-0-0", "kaiming_normal-0-1")


@pytest.fixture
def driver(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The driver's program that lists one GPU, as a file in front of PATH."""
    program = tmp_path_factory.mktemp("driver") / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: one that is none (UUID: GPU-0)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return program


def test_a_gpu_is_seen_where_the_driver_lists_one_and_it_is_not_hidden(
    driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gpu.visible()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert gpu.visible()
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not gpu.visible()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    driver.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed because it could not reach the driver'\nexit 9\n")
    assert not gpu.visible()
    monkeypatch.setenv("PATH", str(driver.parent))
    driver.unlink()
    assert not gpu.visible()


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
    found = sorted((each.started, each.ended) for each in spool.read_all(project / ".fieldgap/spool"))
    assert len(found) == len(RUNS)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("runs_per_gpu", [1, 2])
@pytest.mark.usefixtures("driver")
def test_as_many_runs_as_wanted_share_a_gpu(project: Path, runs_per_gpu: int) -> None:
    configure(project, "engine", runs_per_gpu=runs_per_gpu)
    together = any(ended > began for (_, ended), (began, _) in itertools.pairwise(spans(project)))
    assert together == (runs_per_gpu > 1)


@pytest.mark.slow
def test_without_a_gpu_runs_wait_for_cores_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    configure(project, "engine", runs_per_gpu=1)
    (_, ended), (began, _) = spans(project)
    assert ended > began


@pytest.mark.slow
def test_how_many_runs_share_a_gpu_changes_no_result(project: Path) -> None:
    for block, values in SMALLEST.items():
        configure(project, block, **values)
    call(project, "snakemake", "--cores", "2", "reports/index.html")
    configure(project, "engine", runs_per_gpu=3)
    assert "Nothing to be done" in call(project, "snakemake", "--cores", "2", "reports/index.html").stderr
