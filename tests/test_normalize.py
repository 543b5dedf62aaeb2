from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import PATTERN

from fieldgap import normalize, split
from fieldgap.errors import InputError
from fieldgap.images import read_image, read_mask
from fieldgap.masks import to_classes
from fieldgap.settings import Normalize, Split


@pytest.fixture
def copy(scenes: Path, tmp_path: Path) -> Path:
    """A copy of the scenes to break, with its split."""
    for name in ("images", "masks"):
        shutil.copytree(scenes / name, tmp_path / name)
    split.run(tmp_path / "images", tmp_path / "masks", PATTERN, tmp_path / "split.csv", Split(0.3, 0.3, 0))
    return tmp_path


def pack(folder: Path, tile: int = 32) -> Path:
    paths = (folder / "images", folder / "masks", PATTERN, folder / "split.csv", folder / "tiles")
    normalize.run(*paths, Normalize(tile=tile))
    return folder / "tiles"


def test_tiles_are_the_pixels_of_their_scene(scenes: Path, tiles: Path) -> None:
    images, masks = np.load(tiles / "images.npy"), np.load(tiles / "masks.npy")
    table = pd.read_csv(tiles / "tiles.csv")
    assert images.shape == (48, 32, 32, 3)
    assert masks.shape == (48, 32, 32)
    assert images.dtype == masks.dtype == np.uint8
    assert set(np.unique(masks)) == {0, 1}
    for row in table.itertuples():
        window = np.s_[row.y : row.y + 32, row.x : row.x + 32]
        assert np.array_equal(images[row.tile], read_image(scenes / f"images/{row.scene}.png")[window])
        assert np.array_equal(masks[row.tile] * 255, read_mask(scenes / f"masks/{row.scene}_mask.png")[window])


def test_no_scene_gives_tiles_to_two_splits(tiles: Path) -> None:
    assert (pd.read_csv(tiles / "tiles.csv").groupby("scene")["split"].nunique() == 1).all()


def test_the_statistics_are_those_of_the_training_pixels(scenes: Path, tiles: Path) -> None:
    table = pd.read_csv(tiles / "tiles.csv")
    names = table.loc[table["split"] == "train", "scene"].unique()
    pixels = np.concatenate([read_image(scenes / f"images/{name}.png").reshape(-1, 3) for name in names])
    found = json.loads((tiles / "mask_report.json").read_text())["train_pixels"]
    np.testing.assert_allclose(found["mean"], pixels.mean(0))
    np.testing.assert_allclose(found["std"], pixels.std(0))


def test_a_rest_is_left_out_and_counted(copy: Path) -> None:
    tiles = pack(copy, tile=48)
    assert len(np.load(tiles / "images.npy")) == 12
    scene = json.loads((tiles / "mask_report.json").read_text())["scenes"][0]
    assert scene["pixels_left_out"] == 64**2 - 48**2
    assert sum(scene["pixels"].values()) == 64**2


def test_255_becomes_1_and_any_other_value_is_named() -> None:
    assert to_classes(np.array([[0, 255]], np.uint8), Path("m.png")).tolist() == [[0, 1]]
    with pytest.raises(InputError, match=r"m\.png: holds \[1, 128\] beside 0 and 255"):
        to_classes(np.array([[0, 255, 128, 1]], np.uint8), Path("m.png"))


def test_all_unfit_scenes_are_listed_and_nothing_is_left(copy: Path) -> None:
    masks = copy / "masks"
    cv2.imwrite(str(masks / "scene_001_mask.png"), np.zeros((64, 60), np.uint8))
    cv2.imwrite(str(masks / "scene_004_mask.png"), np.full((64, 64), 7, np.uint8))
    (copy / "images/scene_009.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError) as error:
        pack(copy)
    assert "3 of 12 scenes cannot be used" in str(error.value)
    assert "scene_001_mask.png: is 60 x 64 px but scene_001.png is 64 x 64 px" in str(error.value)
    assert "scene_004_mask.png: holds [7]" in str(error.value)
    assert "scene_009.png: is no readable image" in str(error.value)
    assert not list((copy / "tiles").iterdir())


def test_a_scene_smaller_than_a_tile_is_refused(copy: Path) -> None:
    with pytest.raises(InputError, match=r"scene_000\.png: is 64 x 64 px, smaller than a tile; lower normalize\.tile"):
        pack(copy, tile=128)


def test_a_split_of_other_scenes_is_refused(copy: Path) -> None:
    (copy / "images/scene_003.png").unlink()
    with pytest.raises(InputError, match=r"split\.csv: lists scene_003.*run split again"):
        pack(copy)
