"""One key for one result: what it depends on, and in which order."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, SPLIT, TINY, call, data_in, key_of, run_training

from fieldgap.base.environment import packages
from fieldgap.base.names import TILES
from fieldgap.engines import results, rooms
from fieldgap.engines.jobs import job_of
from fieldgap.engines.rooms import PACKAGE
from fieldgap.network.device import machine
from fieldgap.settings.params import expand
from fieldgap.settings.sections import Report
from fieldgap.tiles.packed import load

CPU = torch.device("cpu")


@pytest.fixture
def copied(tiles: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiles, tmp_path / "tiles"))


def test_the_tiles_are_all_that_stage_normalize_makes_but_its_audit_and_fresh_scenes(tiles: Path) -> None:
    assert {path.name for path in tiles.iterdir()} == {*TILES, "leakage.csv", "fresh.npz"}


def test_the_same_inputs_give_the_same_key_wherever_they_lie(
    tiles: Path, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = key_of(TINY, tiles)
    assert len(bytes.fromhex(key)) == 32
    monkeypatch.chdir(copied.parent)
    for path in copied.iterdir():
        os.utime(path, (0, 0))
    assert key_of(TINY, Path("tiles")) == key


@pytest.mark.parametrize("name", TILES)
def test_each_bit_of_the_tiles_counts(copied: Path, name: str) -> None:
    key = key_of(TINY, copied)
    content = bytearray((copied / name).read_bytes())
    content[-1] ^= 1
    (copied / name).write_bytes(content)
    assert key_of(TINY, copied) != key


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(TINY)])
def test_each_parameter_counts(tiles: Path, name: str) -> None:
    changed = dataclasses.replace(TINY)
    object.__setattr__(changed, name, "another")  # Past the checks: this is about the key alone.
    assert key_of(changed, tiles) != key_of(TINY, tiles)


def test_the_rooms_of_the_stage_count_and_no_others(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Path(shutil.copytree(PACKAGE, tmp_path / PACKAGE.name))
    key = key_of(TINY, tiles)
    monkeypatch.setattr(rooms, "PACKAGE", package)
    assert key_of(TINY, tiles) == key
    for room in sorted(path.name for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"):
        (package / room / "__init__.py").write_text("# edited\n")
        assert (key_of(TINY, tiles) != key) == (room in rooms.ROOMS["train"]), room
        key = key_of(TINY, tiles)


@pytest.mark.parametrize("name", [".train.py", "#train.py#", "train.py~", "train.pyc", "notes.txt"])
def test_what_editors_and_python_leave_behind_is_no_code(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    package = Path(shutil.copytree(PACKAGE, tmp_path / PACKAGE.name))
    monkeypatch.setattr(rooms, "PACKAGE", package)
    key = key_of(TINY, tiles)
    (package / "training" / name).write_text("anything")
    assert key_of(TINY, tiles) == key


def test_a_part_of_the_users_own_counts_by_its_file(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("def flat(progress):\n    return 1.0\n")
    config = dataclasses.replace(TINY)
    object.__setattr__(config, "schedule", "mine:flat")
    key = key_of(config, tiles)
    Path("mine.py").write_text("def flat(progress):\n    return 0.5\n")
    assert key_of(config, tiles) != key


def test_the_order_of_levels_and_of_classes_counts(tmp_path: Path) -> None:
    """The first level is what the others are compared with, and the first class is the background."""

    def key(stage: str, **given: Any) -> str:
        job = job_of(stage, given)
        return results.hashed(stage, job.values, {}, {})

    judge = Report(margin=0.01, margin_epochs=1, reach=0.95, window=3, poor=0.3, small_gap=0.03)
    grids = [{"init": list(order), "seed": [0]} for order in (("a", "b"), ("b", "a"))]
    paths = {"runs": Path("runs"), "tiles": Path("tiles"), "out": Path("reports")}
    first, second = (key("report", **paths, grid=expand(grid), config=judge) for grid in grids)
    assert first != second

    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for kind, name in (("images", "a.png"), ("masks", "a_mask.png")):
        (tmp_path / kind / name).touch()
    classes = [
        {name: (value,) for name, value in order} for order in ((("x", "0"), ("y", "1")), (("y", "1"), ("x", "0")))
    ]
    split = {"out": Path("split.csv"), "config": SPLIT}
    first, second = (key("split", data=data_in(tmp_path, classes=each), **split) for each in classes)
    assert first != second


def test_a_run_records_its_key_and_what_the_machine_adds(tiles: Path, tmp_path: Path) -> None:
    run_training(tiles, tmp_path, TINY)
    status: dict[str, Any] = json.loads((tmp_path / "status.json").read_text())
    assert status.pop("machine") == machine(CPU)
    assert status.pop("packages") == packages()
    steps = TINY.epochs * -(-int(np.sum(load(tiles).splits == "train")) // 3)
    assert status == {"status": "finished", "reason": "", "epoch": 3, "step": steps, "key": key_of(TINY, tiles)}


def test_what_torch_picks_by_the_cpu_is_recorded() -> None:
    """Without its vector code torch rounds otherwise, so this is no detail."""
    code = (
        "import os; os.environ['ATEN_CPU_CAPABILITY'] = 'default'; import torch; "
        "from fieldgap.network.device import machine; print(machine(torch.device('cpu'))['cpu'])"
    )
    assert call(ROOT, "python", "-c", code).stdout.strip() == "DEFAULT"
