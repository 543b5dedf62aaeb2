from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
from conftest import PATTERN

from fieldgap import split
from fieldgap.errors import InputError
from fieldgap.files import read_rows
from fieldgap.settings import Split
from fieldgap.split import assign


def test_shares_are_those_asked_for() -> None:
    """Counts of 10,000 names are binomial: five standard deviations are allowed."""
    counts = Counter(assign(f"scene_{i}", 0.2, 0.3, seed=0) for i in range(10_000))
    for name, share in (("train", 0.5), ("val", 0.2), ("test", 0.3)):
        assert counts[name] == pytest.approx(10_000 * share, abs=5 * math.sqrt(10_000 * share * (1 - share)))


def test_another_seed_is_another_split() -> None:
    names = [f"scene_{i}" for i in range(100)]
    assert [assign(n, 0.3, 0.3, 0) for n in names] != [assign(n, 0.3, 0.3, 1) for n in names]


def test_a_larger_test_share_takes_from_train_alone() -> None:
    for i in range(100):
        small, large = (assign(f"s{i}", 0.2, test, 0) for test in (0.2, 0.4))
        assert small == large or (small, large) == ("train", "test")


def test_each_scene_has_one_row_and_adding_one_moves_no_other(scenes: Path, tmp_path: Path) -> None:
    def table(images: Path) -> list[dict[str, str]]:
        split.run(images, scenes / "masks", PATTERN, tmp_path / "split.csv", Split(0.3, 0.3, 0))
        return read_rows(tmp_path / "split.csv")

    fewer = tmp_path / "images"
    fewer.mkdir()
    for path in sorted((scenes / "images").iterdir())[1:]:
        (fewer / path.name).symlink_to(path)
    whole = table(scenes / "images")
    assert [row["scene"] for row in whole] == [f"scene_{i:03d}" for i in range(12)]
    assert {row["split"] for row in whole} == {"train", "val", "test"}
    assert table(fewer) == whole[1:]


def test_an_empty_split_is_refused_and_nothing_is_left(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none of its 12 scenes fell into val; change split\.seed"):
        split.run(scenes / "images", scenes / "masks", PATTERN, tmp_path / "split.csv", Split(0.0001, 0.3, 0))
    assert not list(tmp_path.iterdir())
