"""A disk that fails once, or from some moment on, at each call of each stage that changes a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sweep
from conftest import ROOT, often

from fieldgap.cli import main
from fieldgap.engines import dvc_setup

MEMORY = Path("/dev/shm")  # noqa: S108 - a thousand copies of a project are written.
DRAW = (
    "demo --images data/images --masks data/masks --fresh_scenes data/fresh.npz --scenes 3 --size 32 --seed 0 --fresh 1"
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = MEMORY / f"fieldgap-faults-{os.getpid()}" if os.access(MEMORY, os.W_OK) else tmp_path / "faults"
    yield place
    subprocess.run(["rm", "-rf", str(place)], check=True)


@pytest.mark.slow
@pytest.mark.repeated
def test_after_any_fault_the_next_run_ends_with_the_bytes_of_an_undisturbed_one(folder: Path) -> None:
    """Under `make endurance` each call is tried; else a few of each stage are."""
    words = [sys.executable, sweep.__file__, str(folder), "--every", str(often(47, 1))]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(sweep.table(found["counts"]))
    assert not found["wrong"]
    assert {row[0] for row in found["counts"]} == set(sweep.SWEPT)
    assert {row[1] for row in found["counts"]} >= {"create", "write"}
    assert {row[3] for row in found["counts"]} == {sweep.FAILED, sweep.WENT_ON, sweep.NO_HARM}


def test_what_the_cache_had_no_room_for_is_kept_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/cache").write_text("no folder")
    assert main(DRAW.split()) == 0
    assert "the result stands, but it cannot be restored later" in capsys.readouterr().err
    (tmp_path / ".dvc/cache").unlink()
    assert main(DRAW.split()) == 0
    subprocess.run(["rm", "-r", "data"], check=True)
    assert main(DRAW.split()) == 0
    assert capsys.readouterr().err.count("nothing to do") == 2
    assert len(list(Path("data").rglob("*.png"))) == 6


def test_a_draft_beside_the_settings_of_dvc_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc").mkdir()
    with subprocess.Popen(["true"]) as gone:
        draft = Path(f".dvc/.config.local.{gone.pid}.draft")
    draft.touch()
    dvc_setup.set_up()
    assert not draft.exists()
