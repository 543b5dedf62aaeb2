"""The ablation on a real Slurm, which the tests start: the same bytes as on one machine, also when a node is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import call
from processes import wait_until
from slurm import Slurm, running
from two_engines import SMALLEST, configure, digests

pytestmark = pytest.mark.slow
RUN = "kaiming_normal-0-0"
PROFILE = ("snakemake", "--profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "2")
FAR = Counter(demo=1, normalize=1, train=2, evaluate=2, report=1)
HERE = Counter(split=1, record=1)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with running(tmp_path_factory.mktemp("slurm")) as each:
        yield each


@pytest.fixture
def small(project: Path) -> Path:
    for block, values in SMALLEST.items():
        configure(project, block, **values)
    return project


@pytest.fixture
def other(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the small project."""
    clone = tmp_path_factory.mktemp("other") / "clone"
    subprocess.run(["cp", "-r", str(small), str(clone)], check=True)
    return clone


def submitted(slurm: Slurm, project: Path, *words: str) -> subprocess.Popen[str]:
    """Start snakemake with the profile; its output goes into a file `told`."""
    tools = Path(sys.executable).parent
    env = slurm.env | {"PYTHONPATH": str(project / "src")}
    env["PATH"] = env["PATH"].replace(os.pathsep, f"{os.pathsep}{tools}{os.pathsep}", 1)
    with (project / "told").open("w") as told:
        return subprocess.Popen([*PROFILE, *words], cwd=project, env=env, stdout=told, stderr=told, text=True)


def ended(snakemake: subprocess.Popen[str], project: Path) -> str:
    """Waits -> what snakemake said. Fails when it did, with what jobs said."""
    status, told = snakemake.wait(180), (project / "told").read_text()
    logs = "\n".join(path.read_text() for path in (project / ".snakemake/slurm_logs").rglob("*.log")) if status else ""
    assert not status, f"{told}\n{logs}"
    return told


def worked(project: Path) -> Counter[str]:
    lines = map(json.loads, (project / ".fieldgap/log.jsonl").read_text().splitlines())
    return Counter(line["stage"] for line in lines if line["how"] == "worked")


def test_an_ablation_on_slurm_has_the_bytes_of_one_on_this_machine(slurm: Slurm, small: Path, other: Path) -> None:
    """Trainings ask for the one GPU of the node, so each has it for itself, and each does its work once."""
    ended(submitted(slurm, small, "--set-resources", "train:gpu=1"), small)
    jobs = slurm.ask("squeue", "--noheader", "--states=all", "--format=%k %T %S %e").splitlines()
    assert Counter(job.split("_")[1].split()[0] for job in jobs) == FAR, "split and record are no jobs of the cluster"
    assert {job.split()[1] for job in jobs} == {"COMPLETED"}
    assert worked(small) == FAR + HERE
    (_, first), (second, _) = sorted(tuple(job.split()[2:]) for job in jobs if job.startswith("rule_train"))
    assert first <= second, "both trainings had the GPU"
    mark = (small / ".fieldgap/due").stat().st_mtime_ns
    assert all(mark < (small / path).stat().st_mtime_ns for path in digests(small)), "a job judged what is due again"

    call(other, "snakemake", "--cores", "2")
    assert digests(small) == digests(other)
    assert "Nothing to be done" in ended(submitted(slurm, small), small)


def test_a_training_whose_node_is_lost_is_submitted_again(slurm: Slurm, small: Path, other: Path) -> None:
    for folder in (small, other):
        configure(folder, "train", epochs=200)
        call(folder, "snakemake", "--cores", "2", "data/tiles/images.npy")
    weights = f"runs/{RUN}/weights.safetensors"
    snakemake = submitted(slurm, small, weights)
    wait_until(lambda: any((small / ".fieldgap/state").rglob("*.safetensors")), "a state of a training")
    slurm.cut_power()
    wait_until(lambda: bool(slurm.ask("squeue", "--noheader", "--states=NODE_FAIL")), "the loss of the node")
    slurm.start_node()
    told = ended(snakemake, small)
    assert "NODE_FAIL" in told
    assert told.count("has been submitted with SLURM jobid") == 2
    assert "goes on after step" in (small / f"logs/train/{RUN}.log").read_text()
    call(other, "snakemake", "--cores", "2", weights)
    assert digests(small) == digests(other)
