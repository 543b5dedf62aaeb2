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
from conftest import ROOT, TINY, call
from graphs import code_of

from fieldgap import sources, train
from fieldgap.cli import STAGES
from fieldgap.errors import InputError
from fieldgap.identity import key_of, machine
from fieldgap.outputs import TILES
from fieldgap.provenance import packages
from fieldgap.sources import PACKAGE

CPU = torch.device("cpu")


@pytest.fixture
def copied(tiles: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiles, tmp_path / "tiles"))


def test_the_sources_are_those_that_both_engines_list() -> None:
    """graphs.code_of reads the import graph in its own way, and test_engines holds both engine files against it."""
    for stage in STAGES.values():
        found = {path.relative_to(PACKAGE).as_posix() for path in sources.sources(stage.module)}
        templates = (
            {f"page/{path.name}" for path in (PACKAGE / "page").iterdir()} if stage.module == "report" else set()
        )
        assert found == code_of(PACKAGE, stage.module) | templates


def test_the_tiles_are_all_that_stage_normalize_makes_but_its_audit_and_fresh_scenes(tiles: Path) -> None:
    assert {path.name for path in tiles.iterdir()} == {*TILES, "leakage.csv", "population.npz"}


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


def test_the_code_counts(tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Path(shutil.copytree(PACKAGE, tmp_path / PACKAGE.name))
    key = key_of(TINY, tiles)
    monkeypatch.setattr(sources, "PACKAGE", package)
    assert key_of(TINY, tiles) == key
    for name, counts in (("report.py", False), ("initialise.py", True)):
        (package / name).write_text((package / name).read_text() + "\n")
        assert (key_of(TINY, tiles) != key) == counts, name


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


def test_tiles_that_are_missing_are_named(copied: Path) -> None:
    (copied / "masks.npy").unlink()
    with pytest.raises(InputError, match=r"masks\.npy: cannot be read \(No such file or directory\)"):
        key_of(TINY, copied)


def test_the_run_records_its_key_and_what_the_machine_adds(tiles: Path, tmp_path: Path) -> None:
    train.run(tiles, tmp_path, TINY)
    status: dict[str, Any] = json.loads((tmp_path / "status.json").read_text())
    assert status.pop("machine") == machine(CPU)
    assert status.pop("packages") == packages()
    steps = TINY.epochs * -(-int(np.sum(train.load(tiles).splits == "train")) // 3)
    assert status == {"status": "finished", "reason": "", "epoch": 3, "step": steps, "key": key_of(TINY, tiles)}


def test_what_torch_picks_by_the_cpu_is_recorded() -> None:
    """Without its vector code torch rounds otherwise, so this is no detail."""
    code = (
        "import os; os.environ['ATEN_CPU_CAPABILITY'] = 'default'; import torch; "
        "from fieldgap.identity import machine; print(machine(torch.device('cpu'))['cpu'])"
    )
    assert call(ROOT, "python", "-c", code).stdout.strip() == "DEFAULT"
