from __future__ import annotations

import math
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from conftest import SPLIT, data_in
from rasterio.transform import from_origin

from fieldgap.base.errors import InputError
from fieldgap.base.files import read_rows
from fieldgap.data import split
from fieldgap.data.split import assign


def test_shares_are_those_asked_for() -> None:
    """Counts of 10,000 names are binomial: five standard deviations are allowed."""
    counts = Counter(assign(f"scene_{i}", 0.2, 0.3, seed=0) for i in range(10_000))
    for name, share in (("train", 0.5), ("val", 0.2), ("test", 0.3)):
        assert counts[name] == pytest.approx(10_000 * share, abs=5 * math.sqrt(10_000 * share * (1 - share)))


def test_another_seed_is_another_split() -> None:
    names = [f"scene_{i}" for i in range(100)]
    assert [assign(n, 0.3, 0.3, 0) for n in names] != [assign(n, 0.3, 0.3, 1) for n in names]


def test_a_larger_test_share_takes_only_from_train() -> None:
    for i in range(100):
        small, large = (assign(f"s{i}", 0.2, test, 0) for test in (0.2, 0.4))
        assert small == large or (small, large) == ("train", "test")


def test_each_scene_has_one_row_and_adding_one_moves_no_other(scenes: Path, tmp_path: Path) -> None:
    def table(images: Path) -> list[dict[str, str]]:
        split.run(data_in(scenes, images=str(images)), tmp_path / "split.csv", SPLIT)
        return read_rows(tmp_path / "split.csv")

    fewer = tmp_path / "images"
    fewer.mkdir()
    for path in sorted((scenes / "images").iterdir())[1:]:
        shutil.copy(path, fewer)
    whole = table(scenes / "images")
    assert [row["scene"] for row in whole] == [f"scene_{i:03d}" for i in range(12)]
    assert {row["split"] for row in whole} == {"train", "val", "test"}
    assert table(fewer) == whole[1:]


def test_scenes_without_a_mask_are_named_briefly_and_left_out(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("images", "masks"):
        shutil.copytree(scenes / name, tmp_path / name)
    for number in range(20):
        shutil.copy(scenes / "images/scene_000.png", tmp_path / f"images/other_{number:02d}.png")
    data = data_in(tmp_path, unlabelled="skip")
    split.run(data, tmp_path / "split.csv", SPLIT)
    told = capsys.readouterr().err
    assert told.startswith("split: 20 images have no mask and are left out: other_00.png, ")
    assert told.endswith("other_11.png and 8 more\n")
    assert {row["scene"] for row in read_rows(tmp_path / "split.csv")} == {f"scene_{i:03d}" for i in range(12)}


def test_an_empty_split_is_refused_and_nothing_is_left(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none of its 12 scenes, in 12 groups, fell into val; change split\.seed"):
        split.run(data_in(scenes), tmp_path / "split.csv", replace(SPLIT, val=0.0001))
    assert not list(tmp_path.iterdir())


def table(folder: Path, text: str) -> str:
    path = folder / "scenes.csv"
    path.write_text(text)
    return str(path)


def made(scenes: Path, tmp_path: Path, **config: Any) -> dict[str, dict[str, str]]:
    """Run the stage with other values and return the row of each scene."""
    split.run(data_in(scenes), tmp_path / "split.csv", replace(SPLIT, **config))
    return {row["scene"]: row for row in read_rows(tmp_path / "split.csv")}


def test_a_table_of_the_users_own_wins(scenes: Path, tmp_path: Path) -> None:
    own = [f"scene_{i:03d},{split.SPLITS[i % 3]}" for i in range(12)]
    rows = made(scenes, tmp_path, table=table(tmp_path, "\n".join(["scene,split", *own])))
    assert [row["split"] for row in rows.values()] == list(split.SPLITS) * 4


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["scene,split", "scene_000,train"], r"lacks 11 scenes: scene_001, scene_002.*add a row for each"),
        (["name,split", "scene_000,train"], "has no column scene"),
        (
            ["scene,split"] + [f"scene_{i:03d},valid" for i in range(12)],
            r"gives scene_000 the split 'valid'; write one",
        ),
        (
            ["scene,split"] + [f"scene_{i:03d},train" for i in range(13)],
            r"names 1 scenes that do not exist: scene_012",
        ),
        (["scene,split"] + ["scene_000,train"] * 12, "names the scene scene_000 twice"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(scenes: Path, tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(InputError, match=rf"scenes\.csv: {message}"):
        made(scenes, tmp_path, table=table(tmp_path, "\n".join(rows)))


def test_groups_stay_together_and_are_named_by_column_or_stem(scenes: Path, tmp_path: Path) -> None:
    by_column = table(tmp_path, "\n".join(["scene,farm", *(f"scene_{i:03d},farm {i % 5}" for i in range(12))]))
    seeds = {"seed": 0, "val": 0.4}
    for rows, group in (
        (
            made(scenes, tmp_path, table=by_column, group="column:farm", **seeds),
            lambda name: f"farm {int(name[-2:]) % 5}",
        ),
        (made(scenes, tmp_path, group="stem:_0(.+)", val=0.2, seed=0), lambda name: name[-2:]),
        (made(scenes, tmp_path, group="stem:.$", seed=0), lambda name: name[-1]),
    ):
        for name, row in rows.items():
            assert row["group"] == group(name)
        splits = {row["group"]: row["split"] for row in rows.values()}
        assert all(row["split"] == splits[row["group"]] for row in rows.values())


def test_a_scene_without_a_group_is_named(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"split\.group: stem:_01 gives no group to 10 of 12 scenes: scene_000, "):
        made(scenes, tmp_path, group="stem:_01")
    with pytest.raises(InputError, match=r"split\.group: column:farm gives no group to 12 of 12"):
        made(scenes, tmp_path, group="column:farm")


def test_a_table_that_divides_a_group_is_refused(scenes: Path, tmp_path: Path) -> None:
    rows = ["scene,split,farm", *(f"scene_{i:03d},{split.SPLITS[i % 3]},{i // 2}" for i in range(12))]
    with pytest.raises(InputError, match="puts the group 0 into train and val"):
        made(scenes, tmp_path, table=table(tmp_path, "\n".join(rows)), group="column:farm")


def test_scenes_belong_to_the_block_of_their_centre(tmp_path: Path) -> None:
    """Eight scenes of 100 m in a row: each block of 200 m has two."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for i in range(8):
        where = {"crs": "EPSG:32615", "transform": from_origin(500_000 + 100 * i, 4_400_000, 5, 5)}
        bands = np.full((3, 20, 20), i, np.uint8)
        with rasterio.open(
            tmp_path / f"images/s{i}.tif", "w", driver="GTiff", count=3, width=20, height=20, dtype="uint8", **where
        ) as file:
            file.write(bands)
        cv2.imwrite(str(tmp_path / f"masks/s{i}_mask.png"), np.zeros((20, 20), np.uint8))
    rows = made(tmp_path, tmp_path, group="block:200", val=0.4, seed=1)
    assert [row["group"] for row in rows.values()] == [f"EPSG:32615 {2500 + i // 2} 21999" for i in range(8)]
    (tmp_path / "images/s9.png").write_bytes(cv2.imencode(".png", np.zeros((20, 20, 3), np.uint8))[1].tobytes())
    cv2.imwrite(str(tmp_path / "masks/s9_mask.png"), np.zeros((20, 20), np.uint8))
    with pytest.raises(InputError, match=r"s9\.png: is not georeferenced, so it lies in no block"):
        made(tmp_path, tmp_path, group="block:200")


def test_folds_are_assigned_by_name_to_scenes_outside_test(scenes: Path, tmp_path: Path) -> None:
    rows = made(scenes, tmp_path, folds=2)
    assert {row["fold"] for row in rows.values() if row["split"] != "test"} == {"0", "1"}
    assert {row["fold"] for row in rows.values() if row["split"] == "test"} == {""}
    assert [row["split"] for row in rows.values()] == [row["split"] for row in made(scenes, tmp_path).values()]
    counts = Counter(split.fold_of(f"scene_{i}", 5, seed=0) for i in range(10_000))
    assert set(counts) == set(range(5))
    assert all(count == pytest.approx(2000, abs=5 * math.sqrt(10_000 * 0.2 * 0.8)) for count in counts.values())


def strata(shares: dict[str, float]) -> dict[str, str]:
    return split.assign_strata(shares, 0.25, 0.25, seed=0)


def test_each_stratum_keeps_the_shares() -> None:
    shares = {f"s{i}": (i % 4) / 4 + 0.1 for i in range(80)}
    splits = strata(shares)
    for quarter in range(4):
        counts = Counter(splits[name] for name, share in shares.items() if int(share * 4) == quarter)
        assert counts == {"train": 10, "val": 5, "test": 5}


def test_a_group_added_to_a_stratum_moves_at_most_two_others_of_it() -> None:
    shares = {f"s{i}": (i % 4) / 4 + 0.1 for i in range(60)}
    before = strata(shares)
    for i in range(60, 90):
        after = strata(shares | {f"s{i}": 0.6})
        moved = [name for name in shares if before[name] != after[name]]
        assert len(moved) <= 2
        assert all(int(shares[name] * 4) == 2 for name in moved)


def test_stratified_splits_read_the_masks(scenes: Path, tmp_path: Path) -> None:
    rows = made(scenes, tmp_path, stratify=True)
    shares = {
        name: float((cv2.imread(str(scenes / f"masks/{name}_mask.png"), cv2.IMREAD_GRAYSCALE) == 255).mean())
        for name in rows
    }
    assert {name: row["split"] for name, row in rows.items()} == split.assign_strata(shares, 0.3, 0.3, seed=0)
