"""Two engines at once in one folder: the second refuses before it has written anything."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import call
from dvc.fs import localfs
from dvc.lock import LockError
from dvc.rwlock import rwlock
from test_two_engines import DVC, SNAKEMAKE, made, shipped, workshop
from two_engines import Project, Workshop

from fieldgap.base.errors import InputError
from fieldgap.engines.turns import NOTES, Turn

__all__ = ["made", "shipped", "workshop"]
HOLD = """
import sys
from dvc.lock import make_lock
with make_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def other() -> Iterator[int]:
    """A living process."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


def noted(path: Path, process: int, words: str) -> None:
    NOTES.write_text(json.dumps({"write": {str(path): {"pid": process, "cmd": words}}, "read": {}}))


def dvc_may_write(path: Path, process: int) -> bool:
    """Returns whether DVC, as that process, would let a stage write a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getpid", lambda: process)
        try:
            with rwlock(str(NOTES.parent.absolute()), localfs, "dvc repro", [], [str(path)], False):
                return True
        except LockError:
            return False


def test_dvc_is_kept_out_from_the_start_to_the_end_and_not_while_a_run_is_planned(here: Path, other: int) -> None:
    Turn()
    assert dvc_may_write(here / "data", other)
    turn = Turn()
    turn.take()
    for path in ("data/demo/images", "runs/a/metrics.json", "reports", ".fieldgap/validated"):
        assert not dvc_may_write(here / path, other)
    assert dvc_may_write(here / "elsewhere", other)
    turn.end()
    turn.end()
    assert dvc_may_write(here / "data/demo/images", other)


@pytest.mark.parametrize("path", ["data/tiles", "runs/a", "reports", "."])
def test_while_another_engine_writes_one_sentence_refuses(path: str, here: Path, other: int) -> None:
    noted(here / path, other, "/usr/bin/dvc repro -v")
    before = NOTES.read_bytes()
    with pytest.raises(InputError, match=rf"^dvc repro -v \(process {other}\) is at work in this folder; [^\n]*$"):
        Turn()
    assert NOTES.read_bytes() == before
    noted(here / "elsewhere", other, "/usr/bin/dvc repro")
    Turn()


def test_an_engine_that_was_killed_keeps_nobody_out(here: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    noted(here / "data", gone.pid, "snakemake")
    turn = Turn()
    turn.take()
    turn.end()
    assert not json.loads(NOTES.read_text()).get("write")


def test_a_snakemake_that_fails_keeps_nobody_out(here: Path) -> None:
    program = "import sys; from fieldgap.engines.turns import *; Turn().take(); print(NOTES.read_text()); sys.exit(1)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "snakemake" in done.stdout
    assert "snakemake" not in NOTES.read_text()


def test_between_the_stages_of_dvc_nobody_begins(here: Path) -> None:
    lock = here / ".dvc/tmp/lock"
    command = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as dvc:
        assert dvc.stdout
        dvc.stdout.readline()
        with pytest.raises(InputError, match=r"^dvc is at work in this folder"):
            Turn()
        dvc.communicate()
    Turn()


def test_what_dvc_did_after_the_plan_makes_the_plan_void(here: Path, other: int) -> None:
    turn = Turn()
    assert dvc_may_write(here / "data", other)
    with pytest.raises(InputError, match="start snakemake again"):
        turn.take()


def test_notes_that_a_kill_cut_off_are_named(here: Path) -> None:
    NOTES.write_text('{"write": {')
    with pytest.raises(InputError, match=r"^\.dvc/tmp/rwlock: .*rm -f \.dvc/tmp/rwlock"):
        Turn()


def wait_for(found: Callable[[], bool]) -> None:
    for _ in range(3000):
        if found():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come")


def finished(process: subprocess.Popen[str], project: Project) -> None:
    """Waits for an engine, and fails with what it told if it does."""
    assert process.wait() == 0, (project.folder / "told").read_text()


def snakemake_works(project: Project) -> bool:
    return (project.folder / "logs/demo.log").exists()


@pytest.mark.slow
def test_dvc_refuses_while_snakemake_works_and_finds_nothing_to_do_after_it(
    shipped: Workshop, warm_tools: None
) -> None:
    project = shipped.project()
    snakemake = project.start(*SNAKEMAKE)
    wait_for(lambda: snakemake_works(project))
    for words in (DVC, ("dvc", "repro", "--force"), ("dvc", "exp", "run"), ("dvc", "exp", "run", "--queue")):
        refused = call(project.folder, *words, check=False)
        assert refused.returncode
        assert re.search(r"\(PID \d+\): snakemake", refused.stderr), refused.stderr
    assert not (project.folder / "dvc.lock").exists()
    second = call(project.folder, *SNAKEMAKE, check=False)
    assert second.returncode == 1
    assert "is at work in this folder" in second.stderr
    finished(snakemake, project)
    project.check_files(shipped.from_scratch(set()))
    assert "Running stage" not in project.call(*DVC)


@pytest.mark.slow
def test_snakemake_refuses_while_dvc_works(shipped: Workshop, warm_tools: None) -> None:
    project = shipped.project()
    dvc = project.start(*DVC)
    wait_for(lambda: "normalize" in str(project.log()))
    refused = call(project.folder, *SNAKEMAKE, check=False)
    assert refused.returncode == 1
    assert "dvc" in refused.stderr
    assert "at work in this folder" in refused.stderr
    assert not (project.folder / ".fieldgap/due").exists()
    finished(dvc, project)
    project.check_files(shipped.from_scratch(set()))
    assert "Nothing to be done" in project.call(*SNAKEMAKE)


@pytest.mark.slow
def test_a_killed_snakemake_does_not_keep_dvc_out(shipped: Workshop, warm_tools: None) -> None:
    project = shipped.project()
    snakemake = project.start(*SNAKEMAKE)
    wait_for(lambda: snakemake_works(project))
    snakemake.kill()
    snakemake.wait()
    time.sleep(0.2)
    project.call(*DVC)
    project.check_files(shipped.from_scratch(set()))
