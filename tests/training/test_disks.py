"""Real disks that are full or read-only, mounted for a single test."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from killed import made
from processes import command

from fieldgap.cli import main

OUT = Path("disk/one")
PRIVATE = ["unshare", "--mount", "--map-root-user"]


def mounts() -> bool:
    """Return whether this machine lets a test mount a disk that nobody else sees."""
    try:
        tried = subprocess.run([*PRIVATE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    except OSError:
        return False
    return tried.returncode == 0


pytestmark = pytest.mark.skipif(not mounts(), reason="no disk can be mounted here")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def script(tiles: Path, *lines: str) -> str:
    """Run shell lines on mounts of their own, where TRAIN is the command that trains, and return their output."""
    train = shlex.join([sys.executable, *command(tiles, OUT)])
    text = "\n".join(["set -e", *lines]).replace(
        "TRAIN", f"{train} >output 2>&1 || echo ended with $? >>output; cat output"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([*PRIVATE, "sh", "-c", text], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def undisturbed(tiles: Path) -> dict[str, bytes]:
    assert main(command(tiles, Path("whole"))[2:]) == 0
    return made(Path("whole"))


@pytest.mark.parametrize("place", ["disk", ".fieldgap"])
def test_a_full_disk_gives_one_message_and_with_room_the_run_goes_on(tiles: Path, place: str) -> None:
    """Full for the outputs, or for the checkpoints."""
    output = script(
        tiles,
        f"mkdir {place}; mount -t tmpfs -o size=24k none {place}",
        "TRAIN; test ! -e disk/one/status.json; test -z \"$(find . -name '*.draft')\"",
        f"echo; mount -o remount,size=9m {place}",
        "TRAIN; cp -r disk/one copied",
    )
    first, second = output.split("\n\n")
    errors = [line for line in first.splitlines() if not line.startswith("epoch")]
    assert len(errors) == 2, first
    assert errors[0].startswith("fieldgap train: ")
    assert "cannot be written (No space left on device); check free space and permissions" in errors[0]
    assert errors[1] == "ended with 1"
    assert "ended" not in second
    assert made(Path("copied")) == undisturbed(tiles)


def test_a_read_only_disk_is_reported_before_any_work(tiles: Path) -> None:
    output = script(tiles, "mkdir disk; mount -t tmpfs -o ro none disk", "TRAIN")
    assert output.splitlines() == [
        f"fieldgap train: {OUT}: cannot be written (Read-only file system); check free space and permissions",
        "ended with 1",
    ]


def test_a_full_shared_memory_does_not_matter(tiles: Path) -> None:
    """No tiles are handed from process to process."""
    output = script(
        tiles,
        "mount -t tmpfs -o size=4k none /dev/shm; head -c 4096 /dev/zero >/dev/shm/full",
        "! echo more >/dev/shm/more",
        "TRAIN; cp -r disk/one copied",
    )
    assert "ended" not in output
    assert made(Path("copied")) == undisturbed(tiles)
