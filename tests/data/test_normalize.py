from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import ELSEWHERE, NORMALIZE, SPLIT, data_in

from fieldgap.base.errors import InputError
from fieldgap.base.files import read_rows, write_rows
from fieldgap.base.labels import IGNORE
from fieldgap.data import normalize, split
from fieldgap.tiles.packed import load


@pytest.fixture
def copy(scenes: Path, tmp_path: Path) -> Path:
    """A copy of the scenes for tests that change them, with its split."""
    for name in ("images", "masks"):
        shutil.copytree(scenes / name, tmp_path / name)
    split.run(data_in(tmp_path), tmp_path / "split.csv", SPLIT)
    return tmp_path


def cut(folder: Path, changes: dict[str, Any] | None = None, **config: Any) -> Path:
    """Run the stage on a folder's scenes, with `changes` of data.* and values of normalize.*; return the tiles."""
    data = data_in(folder, **changes or {})
    normalize.run(data, folder / "split.csv", ELSEWHERE, folder / "tiles", replace(NORMALIZE, **config))
    return folder / "tiles"


def rgb(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[:, :, ::-1]


def test_tiles_are_the_pixels_of_their_scene(scenes: Path, tiles: Path) -> None:
    images, masks = np.load(tiles / "images.npy"), np.load(tiles / "masks.npy")
    table = pd.read_csv(tiles / "tiles.csv")
    assert images.shape == (48, 32, 32, 3)
    assert masks.shape == (48, 32, 32)
    assert images.dtype == masks.dtype == np.uint8
    assert set(np.unique(masks)) == {0, 1}
    for row in table.itertuples():
        window = np.s_[row.y : row.y + 32, row.x : row.x + 32]
        assert np.array_equal(images[row.tile], rgb(scenes / f"images/{row.scene}.png")[window])
        mask = cv2.imread(str(scenes / f"masks/{row.scene}_mask.png"), cv2.IMREAD_GRAYSCALE)
        assert np.array_equal(masks[row.tile] * 255, mask[window])


def test_no_scene_gives_tiles_to_two_splits(tiles: Path) -> None:
    assert (pd.read_csv(tiles / "tiles.csv").groupby("scene")["split"].nunique() == 1).all()


def test_the_statistics_are_those_of_the_training_pixels(scenes: Path, tiles: Path) -> None:
    table = pd.read_csv(tiles / "tiles.csv")
    names = table.loc[table["split"] == "train", "scene"].unique()
    pixels = np.concatenate([rgb(scenes / f"images/{name}.png").reshape(-1, 3) for name in names])
    loaded = load(tiles)
    np.testing.assert_allclose(loaded.mean, pixels.mean(0))
    np.testing.assert_allclose(loaded.std, pixels.std(0))


def test_pixels_beyond_the_last_tile_are_left_out_and_counted(copy: Path) -> None:
    tiles = cut(copy, tile=48)
    assert len(np.load(tiles / "images.npy")) == 12
    scene = json.loads((tiles / "mask_report.json").read_text())["scenes"][0]
    assert scene["pixels_left_out"] == 64**2 - 48**2
    assert sum(scene["pixels"].values()) == 64**2


def half(side: int) -> np.ndarray:
    """A mask whose lower part is farmland."""
    mask = np.zeros((side, side), np.uint8)
    mask[side * 5 // 8 :] = 255
    return mask


def test_what_the_tiles_use_is_counted_by_class_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scenes(tmp_path, {"a.png": drawn(0, 48, 48)}, {"a_mask.png": half(48)})
    write_split(tmp_path, "train")
    scene = json.loads((cut(tmp_path) / "mask_report.json").read_text())["scenes"][0]
    assert scene["pixels"] == {"background": 48 * 30, "farmland": 48 * 18, "ignore": 0}
    assert scene["used"] == {"background": 32 * 30, "farmland": 32 * 2, "ignore": 0}
    assert "normalize: the tiles use 44.4% of all pixels; to use more, set normalize.pad" in capsys.readouterr().err
    scene = json.loads((cut(tmp_path, stride=16) / "mask_report.json").read_text())["scenes"][0]
    assert scene["used"] == scene["pixels"], "a pixel of two tiles counts once"
    assert capsys.readouterr().err == ""


def test_a_class_that_no_tile_contains_is_refused(tmp_path: Path) -> None:
    write_scenes(
        tmp_path,
        {"a.png": drawn(0, 50, 50)},
        {"a_mask.png": np.where(np.arange(50) < 32, 0, 255).astype(np.uint8)[:, None].repeat(50, 1)},
    )
    write_split(tmp_path, "train")
    with pytest.raises(
        InputError, match=r"no tile contains a pixel of farmland, which the masks have; the tiles use 41"
    ):
        cut(tmp_path)
    assert not (tmp_path / "tiles").exists() or not list((tmp_path / "tiles").iterdir())
    assert (np.load(cut(tmp_path, pad=True) / "masks.npy") == 1).sum() == 18 * 50


def test_all_unfit_scenes_are_listed_and_nothing_is_left(copy: Path) -> None:
    masks = copy / "masks"
    cv2.imwrite(str(masks / "scene_001_mask.png"), np.zeros((64, 60), np.uint8))
    cv2.imwrite(str(masks / "scene_004_mask.png"), np.full((64, 64), 7, np.uint8))
    (copy / "images/scene_009.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError) as error:
        cut(copy)
    assert "3 of 12 scenes cannot be used" in str(error.value)
    assert "scene_001_mask.png: is 60 x 64 px but scene_001.png is 64 x 64 px" in str(error.value)
    assert "scene_004_mask.png: contains 7, which data.foreground" in str(error.value)
    assert "scene_009.png: is not a PNG, JPEG, TIFF" in str(error.value)
    assert not list((copy / "tiles").iterdir())


def test_a_scene_smaller_than_a_tile_is_refused(copy: Path) -> None:
    with pytest.raises(InputError, match=r"scene_000\.png: is 64 x 64 px, smaller than a tile; lower normalize\.tile"):
        cut(copy, tile=128)


def test_a_split_of_other_scenes_is_refused(copy: Path) -> None:
    (copy / "images/scene_003.png").unlink()
    with pytest.raises(InputError, match=r"split\.csv: lists scene_003.*run split again"):
        cut(copy)


def write_scenes(folder: Path, images: dict[str, np.ndarray], masks: dict[str, np.ndarray]) -> Path:
    for name, files in (("images", images), ("masks", masks)):
        (folder / name).mkdir()
        for file, pixels in files.items():
            cv2.imwrite(str(folder / name / file), pixels)
    return folder


def write_split(folder: Path, *splits: str) -> None:
    """Write a split of the scenes a, b, c, ... in that order."""
    rows = [{"scene": chr(97 + i), "group": chr(97 + i), "split": name, "fold": ""} for i, name in enumerate(splits)]
    write_rows(folder / "split.csv", rows)


def drawn(seed: int, height: int = 64, width: int = 64, kind: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(kind).max, (height, width, 3), kind)


def test_tiles_may_overlap_and_be_padded(tmp_path: Path) -> None:
    mask = np.full((50, 70), 255, np.uint8)
    write_scenes(tmp_path, {"a.png": drawn(0, 50, 70)}, {"a_mask.png": mask})
    write_split(tmp_path, "train")
    tiles = cut(tmp_path, stride=16)
    places = [(row["y"], row["x"]) for row in read_rows(tiles / "tiles.csv")]
    assert places == [(str(y), str(x)) for y in (0, 16) for x in (0, 16, 32)]

    tiles = cut(tmp_path, pad=True)
    rows = read_rows(tiles / "tiles.csv")
    assert [(row["y"], row["x"]) for row in rows] == [(str(y), str(x)) for y in (0, 32) for x in (0, 32, 64)]
    images, masks = np.load(tiles / "images.npy"), np.load(tiles / "masks.npy")
    assert (masks == 1).sum() == mask.size
    assert (masks == IGNORE).sum() == 6 * 32**2 - mask.size
    corner = images[5]
    assert np.array_equal(corner[:18, 6:12], corner[:18, :6][:, ::-1]), "beyond its edge the image is mirrored"
    scene = json.loads((tiles / "mask_report.json").read_text())["scenes"][0]
    assert (scene["tiles"], scene["pixels_left_out"]) == (6, 0)


def test_a_scene_smaller_than_a_tile_is_padded_to_one(tmp_path: Path) -> None:
    write_scenes(tmp_path, {"a.png": drawn(0, 20, 33)}, {"a_mask.png": np.zeros((20, 33), np.uint8)})
    write_split(tmp_path, "train")
    assert np.load(cut(tmp_path, pad=True) / "masks.npy").shape == (2, 32, 32)


def test_tiles_with_too_few_valid_pixels_are_left_out(tmp_path: Path) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :48] = 7
    write_scenes(tmp_path, {"a.png": drawn(0)}, {"a_mask.png": mask})
    write_split(tmp_path, "train")
    tiles = cut(tmp_path, {"ignore": ("7",)}, min_valid=0.5)
    assert [(row["y"], row["x"]) for row in read_rows(tiles / "tiles.csv")] == [("0", "32"), ("32", "32")]
    scene = json.loads((tiles / "mask_report.json").read_text())["scenes"][0]
    assert scene["pixels"] == {"background": 64 * 16, "farmland": 0, "ignore": 64 * 48}
    assert scene["pixels_left_out"] == 64 * 32


def test_no_data_of_an_image_is_ignored_and_takes_no_part_in_the_statistics(tmp_path: Path) -> None:
    image = np.dstack([np.full((64, 64, 3), 90, np.uint8), np.full((64, 64), 255, np.uint8)])
    image[:, :10] = 0
    write_scenes(tmp_path, {"a.png": image}, {"a_mask.png": np.full((64, 64), 255, np.uint8)})
    write_split(tmp_path, "train")
    tiles = cut(tmp_path)
    masks = np.load(tiles / "masks.npy")
    assert (masks == IGNORE).sum() == 640
    assert load(tiles).mean == [90, 90, 90]


def test_sixteen_bits_are_scaled_by_percentiles_of_the_training_scenes_alone(tmp_path: Path) -> None:
    ramp = np.repeat(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64, 1), 3, 2)
    masks = {f"{name}_mask.png": np.zeros((64, 64), np.uint8) for name in "abc"}
    write_scenes(tmp_path, {"a.png": ramp, "b.png": ramp[::-1] * 9, "c.png": ramp[:, ::-1] * 15}, masks)
    write_split(tmp_path, "train", "val", "test")
    tiles = np.load(cut(tmp_path, scale="percentiles:0:100") / "images.npy")
    expected = np.rint(ramp / 4095 * 255).astype(np.uint8)
    assert np.array_equal(tiles[0], expected[:32, :32])
    assert np.array_equal(tiles[4], np.minimum(ramp[::-1].astype(int) * 9 / 4095 * 255, 255).round()[:32, :32])
    one = np.load(cut(tmp_path, scale="percentiles:25:75") / "images.npy")
    low, high = np.percentile(ramp[:, :, 0], [25, 75], method="inverted_cdf")
    assert np.array_equal(one[0], np.clip(np.rint((ramp - float(low)) / (high - low) * 255), 0, 255)[:32, :32])
    fixed = np.load(cut(tmp_path, scale="limits:0:61425") / "images.npy")
    assert np.array_equal(fixed[0], np.rint(ramp / 61425 * 255)[:32, :32])


def test_depths_are_not_mixed(tmp_path: Path) -> None:
    masks = {f"{name}_mask.png": np.zeros((64, 64), np.uint8) for name in "abc"}
    images = {"a.png": drawn(0), "b.png": drawn(1, kind=np.uint16), "c.png": drawn(2)}
    write_scenes(tmp_path, images, masks)
    write_split(tmp_path, "train", "val", "test")
    with pytest.raises(
        InputError,
        match=r"1 of 3 scenes cannot be used:\n  .*b\.png: has uint16 pixels, but the first training scene uint8",
    ):
        cut(tmp_path)


def test_more_classes_and_other_bands(tmp_path: Path) -> None:
    mask = np.repeat(np.array([0, 5, 9, 3], np.uint8), 16)[None].repeat(64, 0)
    write_scenes(tmp_path, {"a.png": drawn(0)}, {"a_mask.png": mask})
    write_split(tmp_path, "train")
    classes = {"background": ("0",), "wheat": ("5",), "maize": ("9", "3")}
    tiles = cut(tmp_path, {"classes": classes, "bands": (3, 1)})
    assert load(tiles).classes == ("background", "wheat", "maize")
    images, masks = np.load(tiles / "images.npy"), np.load(tiles / "masks.npy")
    assert np.array_equal(images[0], rgb(tmp_path / "images/a.png")[:32, :32][:, :, [2, 0]])
    assert np.unique(masks).tolist() == [0, 1, 2]


def test_unfit_masks_are_all_listed_with_the_keys_that_accept_them(copy: Path) -> None:
    for path in (copy / "masks").iterdir():
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) // 255)
    with pytest.raises(InputError) as error:
        cut(copy)
    assert str(error.value).count("contains 1, which") == 12
    assert "accepted with\n    data:\n      foreground: [1]\n      background: [0]" in str(error.value)
    cut(copy, {"foreground": ("1",)})


def test_leaks_are_an_error_that_lists_the_pairs_or_a_table(copy: Path) -> None:
    splits = {row["scene"]: row["split"] for row in read_rows(copy / "split.csv")}
    train, test = (next(name for name, own in splits.items() if own == split) for split in ("train", "test"))
    for kind in ("images/{}.png", "masks/{}_mask.png"):
        shutil.copy(copy / kind.format(train), copy / kind.format(test))
    first, second = sorted((train, test))
    with pytest.raises(
        InputError, match=rf"1 pairs of scenes.*\n  {first} .* and {second} .*: same bytes\n.*leakage: report"
    ):
        cut(copy)
    assert not list((copy / "tiles").iterdir())
    rows = read_rows(cut(copy, leakage="report") / "leakage.csv")
    assert [(row["kind"], row["first"], row["second"]) for row in rows] == [("same bytes", first, second)]


def test_folds_count_as_splits_in_the_audit(tmp_path: Path) -> None:
    mask = np.zeros((64, 64), np.uint8)
    write_scenes(tmp_path, {"a.png": drawn(0), "b.png": drawn(0)}, {"a_mask.png": mask, "b_mask.png": mask})
    rows = [{"scene": name, "group": name, "split": "train", "fold": fold} for name, fold in (("a", 0), ("b", 1))]
    write_rows(tmp_path / "split.csv", rows)
    with pytest.raises(InputError, match=r"a \(train fold 0\) and b \(train fold 1\): same bytes"):
        cut(tmp_path)


def test_an_audit_that_finds_nothing_writes_an_empty_table(tiles: Path) -> None:
    assert (tiles / "leakage.csv").read_text() == "kind,first,first_part,second,second_part,distance\n"


def test_the_report_describes_each_scene(scenes: Path, tiles: Path) -> None:
    report = json.loads((tiles / "mask_report.json").read_text())
    assert report["classes"] == ["background", "farmland"]
    for scene in report["scenes"]:
        mask = cv2.imread(str(scenes / f"masks/{scene['scene']}_mask.png"), cv2.IMREAD_GRAYSCALE)
        farmland = int((mask == 255).sum())
        assert scene["pixels"] == {"background": 64**2 - farmland, "farmland": farmland, "ignore": 0}
        assert scene["values"].get("255", 0) == farmland
        assert scene["tiles"] == 4
