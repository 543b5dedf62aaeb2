from __future__ import annotations

import dataclasses
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fieldgap.base.errors import InputError
from fieldgap.base.files import read_rows, write_rows
from fieldgap.tiles.packed import load, read_packed


def test_splits_share_no_tile(tiles: Path) -> None:
    packed = load(tiles)
    indices = [packed.indices(split) for split in ("train", "val", "test")]
    assert sorted(np.concatenate(indices).tolist()) == list(range(48))


def test_packed_tiles_are_cut_from_their_corners(tiles: Path, scenes: Path) -> None:
    packed = read_packed(tiles)
    for index in (5, 6, 47):
        y, x = packed.corners[index]
        image = np.array(Image.open(scenes / f"images/{packed.scenes[index]}.png"))
        assert np.array_equal(packed.images[index], image[y : y + 32, x : x + 32])
    assert packed.classes == ("background", "farmland")
    assert [scene["scene"] for scene in packed.report] == list(dict.fromkeys(packed.scenes.tolist()))
    assert set(packed.folds) == {""}


@pytest.mark.parametrize("name", ["images.npy", "masks.npy", "tiles.csv", "mask_report.json"])
def test_a_missing_file_is_named_with_its_stage(tiles: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(tiles, tmp_path / "tiles")
    (tmp_path / "tiles" / name).unlink()
    with pytest.raises(InputError, match=r"tiles.*run (normalize|the stage that makes it) again"):
        load(tmp_path / "tiles")


@pytest.mark.parametrize("column", ["scene", "split", "fold", "y"])
def test_a_missing_column_of_the_tiles_is_named_with_its_stage(tiles: Path, tmp_path: Path, column: str) -> None:
    shutil.copytree(tiles, tmp_path / "tiles")
    rows = [{name: value for name, value in row.items() if name != column} for row in read_rows(tiles / "tiles.csv")]
    write_rows(tmp_path / "tiles/tiles.csv", rows)
    with pytest.raises(InputError, match=f"tiles.csv or mask_report.json lacks '{column}'; run normalize again"):
        load(tmp_path / "tiles")


def test_files_that_do_not_belong_together_are_refused(tiles: Path, tmp_path: Path) -> None:
    shutil.copytree(tiles, tmp_path / "tiles")
    np.save(tmp_path / "tiles/masks.npy", np.zeros((3, 32, 32), np.uint8))
    with pytest.raises(InputError, match="differ in length"):
        load(tmp_path / "tiles")


def test_a_smaller_share_of_the_training_scenes_is_part_of_a_larger_one(tiles: Path) -> None:
    packed = load(tiles)
    whole = packed.indices("train")
    shares = [packed.training(share) for share in (0.01, 0.4, 0.7, 1.0)]
    for smaller, larger in pairwise(shares):
        assert set(smaller) < set(larger)
    assert shares[-1].tolist() == whole.tolist()
    assert len(np.unique(packed.scenes[shares[0]])) == 1
    for chosen in shares:
        scenes = np.unique(packed.scenes[chosen])
        assert set(chosen) == {i for i in whole if packed.scenes[i] in scenes}, "scenes are taken whole"


def test_balanced_weights_give_each_class_the_same_sum_and_mean_one(tiles: Path) -> None:
    packed = load(tiles)
    indices = packed.training(1.0)
    counts = np.bincount(packed.masks[indices].ravel(), minlength=2)
    weights = np.array(packed.balanced_weights(indices))
    assert weights[0] * counts[0] == pytest.approx(weights[1] * counts[1])
    assert (weights * counts).sum() == pytest.approx(counts.sum())
    three = dataclasses.replace(packed, classes=("background", "farmland", "water"))
    assert three.balanced_weights(indices)[2] == 0


def folded(tiles: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiles in which all scenes but those of test are in fold 0 or 1."""
    shutil.copytree(tiles, tmp_path / "tiles")
    rows = read_rows(tiles / "tiles.csv")
    for row in rows:
        row["fold"] = "" if row["split"] == "test" else str(int(row["scene"][-1]) % 2)
    write_rows(tmp_path / "tiles/tiles.csv", rows)
    return tmp_path / "tiles"


def test_one_fold_is_val_and_the_others_are_train(tiles: Path, tmp_path: Path) -> None:
    folder = folded(tiles, tmp_path)
    whole, folds = load(folder), [load(folder, fold) for fold in (0, 1)]
    for fold, packed in enumerate(folds):
        assert packed.indices("test").tolist() == whole.indices("test").tolist()
        assert {int(scene[-1]) % 2 for scene in packed.scenes[packed.indices("val")]} == {fold}
        assert {int(scene[-1]) % 2 for scene in packed.scenes[packed.indices("train")]} == {1 - fold}
        pixels = packed.images[packed.indices("train")].reshape(-1, 3)
        np.testing.assert_allclose(
            packed.mean, pixels.mean(0), err_msg="the statistics are those of the fold's own training tiles"
        )
    assert folds[0].indices("val").tolist() == folds[1].indices("train").tolist()
    with pytest.raises(InputError, match=r"fold: 2 is none of the folds of these tiles; raise split\.folds above 2"):
        load(folder, 2)


def test_splitting_by_tile_keeps_the_counts_and_tears_scenes_apart(tiles: Path) -> None:
    whole, torn = load(tiles), load(tiles, split_by="tile")
    for split in ("train", "val", "test"):
        assert len(whole.indices(split)) == len(torn.indices(split))
    shared = set(torn.scenes[torn.indices("train")]) & set(torn.scenes[torn.indices("val")])
    assert len(shared) > 3
    assert load(tiles, split_by="tile").splits.tolist() == torn.splits.tolist()
    assert torn.mean == whole.mean
