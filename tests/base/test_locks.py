from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldgap.base import locks

LOCK = Path("made/a.lock")
# Takes the lock, starts two children that outlive it, one forked and one executed, and waits to be killed.
OWNER = f"""
import os, subprocess, time
from pathlib import Path
from fieldgap.base import locks
lock = locks.take(Path("{LOCK}"))
if not (forked := os.fork()):
    time.sleep(60)
executed = subprocess.Popen(["sleep", "60"], close_fds=False).pid
print(forked, executed, flush=True)
time.sleep(60)
"""
# Adds 1 to a number in a file, many times, in turns with others.
ADDER = f"""
from pathlib import Path
from fieldgap.base import locks
for _ in range(100):
    lock = locks.take(Path("{LOCK}"), seconds=-1)
    Path("sum").write_text(str(int(Path("sum").read_text()) + 1))
    locks.discard(lock)
"""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def owner() -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A process that has the lock, and its children."""
    process = run(OWNER)
    assert process.stdout
    children = [int(word) for word in process.stdout.readline().split()]
    yield process, children
    process.kill()
    for child in children:
        os.kill(child, signal.SIGKILL)
    process.communicate()


def test_a_lock_has_one_owner_until_it_is_released() -> None:
    lock = locks.take(LOCK)
    assert lock
    assert locks.owner(LOCK) == str(os.getpid())
    assert locks.held(LOCK)
    assert locks.take(LOCK) is None
    assert not locks.keep(LOCK)
    lock.release()
    assert not locks.held(LOCK)
    assert locks.take(LOCK)


def test_a_discarded_lock_leaves_no_file() -> None:
    lock = locks.take(LOCK)
    assert lock
    locks.discard(lock)
    assert not LOCK.exists()
    assert locks.owner(LOCK) == "?"


def test_a_look_makes_no_file_and_takes_no_lock() -> None:
    assert not locks.held(LOCK)
    LOCK.parent.mkdir()
    assert not locks.held(LOCK)
    assert not LOCK.exists()
    LOCK.touch()
    assert not locks.held(LOCK)
    assert locks.take(LOCK)


def test_a_kept_lock_lasts_though_nothing_refers_to_it() -> None:
    assert locks.keep(LOCK)
    gc.collect()
    assert locks.held(LOCK)


def test_a_killed_owner_frees_its_lock_though_its_children_live(
    owner: tuple[subprocess.Popen[str], list[int]],
) -> None:
    process, children = owner
    assert locks.owner(LOCK) == str(process.pid)
    assert locks.take(LOCK) is None
    process.kill()
    process.wait()
    assert not locks.held(LOCK)
    assert locks.take(LOCK)
    for child in children:
        os.kill(child, 0)


def test_waiting_ends_when_the_lock_is_free_or_time_is_up(owner: tuple[subprocess.Popen[str], list[int]]) -> None:
    began = time.monotonic()
    assert locks.take(LOCK, seconds=0.3) is None
    assert time.monotonic() - began >= 0.3
    owner[0].kill()
    assert locks.take(LOCK, seconds=30)


def test_owners_take_turns_though_each_removes_the_file() -> None:
    Path("sum").write_text("0")
    adders = [run(ADDER) for _ in range(4)]
    for adder in adders:
        adder.communicate(timeout=120)
        assert adder.returncode == 0
    assert Path("sum").read_text() == "400"
    assert not LOCK.exists()


def test_a_folder_that_cannot_be_made_is_an_error() -> None:
    LOCK.parent.touch()
    with pytest.raises(FileExistsError):
        locks.take(LOCK)
