from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import ELSEWHERE, NORMALIZE, SPLIT, data_in
from styles import save

from fieldgap.base.files import read_rows
from fieldgap.data import normalize, split
from fieldgap.report.overview import contact_sheet, leak_pictures, mask_values, outlined, split_rows, view
from fieldgap.tiles.packed import PackedTiles, read_packed


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return eight scenes of 200 x 128 px with a lighter field on the right; h is a copy of a, in another split."""
    folder = tmp_path_factory.mktemp("large")
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for i, name in enumerate("abcdefg"):
        image = np.random.default_rng(i).integers(0, 90, (128, 200, 3), np.uint8)
        mask = np.zeros((128, 200), np.uint8)
        mask[:, 200 - 20 * i :] = 255
        image[mask > 0] += 100
        save(folder / f"images/{name}.png", image)
        save(folder / f"masks/{name}_mask.png", mask)
    for kind in ("images/{}.png", "masks/{}_mask.png"):
        (folder / kind.format("h")).write_bytes((folder / kind.format("a")).read_bytes())
    (folder / "scenes.csv").write_text(
        "scene,split\n"
        + "\n".join(f"{s},{t}" for s, t in zip("abcdefgh", ["train"] * 5 + ["val", "test", "test"], strict=True))
    )
    split.run(data_in(folder), folder / "split.csv", dataclasses.replace(SPLIT, table=str(folder / "scenes.csv")))
    config = dataclasses.replace(NORMALIZE, leakage="report", pad=True)
    normalize.run(data_in(folder), folder / "split.csv", ELSEWHERE, folder / "tiles", config)
    return folder


def scene_of(packed: PackedTiles, name: str) -> dict[str, Any]:
    return next(scene for scene in packed.report if scene["scene"] == name)


def test_each_split_is_described_by_its_pixels(large: Path) -> None:
    rows = {row["split"]: row for row in split_rows(read_packed(large / "tiles").report)}
    assert {name: row["scenes"] for name, row in rows.items()} == {"train": 5, "val": 1, "test": 2}
    assert rows["train"]["shares"] == {"background": 1 - 0.2, "farmland": pytest.approx(0.2)}
    assert (rows["train"]["empty"], rows["test"]["empty"]) == (1, 1)
    assert rows["train"]["sizes"] == "200 x 128"
    assert rows["train"]["mask_values"] == "0, 255"
    assert rows["train"]["tiles"] == 5 * 4 * 7


def test_a_scene_is_put_together_from_its_tiles(large: Path) -> None:
    packed = read_packed(large / "tiles")
    image, classes = view(packed, scene_of(packed, "c"))
    whole = cv2.imread(str(large / "images/c.png"))[:, :, ::-1]
    assert np.array_equal(image, whole)
    assert np.array_equal(classes, cv2.imread(str(large / "masks/c_mask.png"), cv2.IMREAD_GRAYSCALE) // 255)


def test_a_large_scene_is_made_small_and_gaps_stay_unknown(large: Path) -> None:
    packed = read_packed(large / "tiles")
    scene = {**scene_of(packed, "c"), "height": 1280, "width": 2000}
    sparse = dataclasses.replace(packed, scenes=np.array(["c"]), corners=np.array([[640, 960]]))
    image, classes = view(sparse, scene)
    assert image.shape == (1280 // 5, 400, 3)
    assert (classes[128:135, 192:199] != 255).all()
    assert (classes == 255).sum() == 256 * 400 - 49


def test_outlines_of_classes_are_drawn_and_nothing_else() -> None:
    image = np.zeros((9, 9, 3), np.uint8)
    classes = np.zeros((9, 9), np.uint8)
    classes[:, 5:] = 1
    drawn = outlined(image, classes)
    assert (drawn[:, 4:6] == (255, 0, 255)).all()
    assert not drawn[:, :4].any()
    assert not drawn[:, 6:].any()


def test_the_contact_sheet_shows_scenes_of_each_split_from_least_to_most_foreground(large: Path) -> None:
    sheet = contact_sheet(read_packed(large / "tiles"))
    assert [picture.title for picture in sheet] == [
        "train: a", "train: b", "train: c", "train: e", "val: f", "test: h", "test: g",
    ]  # fmt: skip
    assert sheet[1].caption == "10% foreground, 200 x 128 px"
    data = np.frombuffer(base64.b64decode(sheet[1].source.split(",")[1]), np.uint8)
    strip = cv2.imdecode(data, cv2.IMREAD_COLOR)
    height, width = strip.shape[:2]
    assert width == 3 * 192 + 2 * 4
    assert strip[height // 2, 188].mean() > 100 > strip[height // 2, 100].mean()


def test_leaking_pairs_are_shown_side_by_side(large: Path) -> None:
    (pair,) = leak_pictures(read_packed(large / "tiles"), read_rows(large / "tiles/leakage.csv"))
    assert (pair.title, pair.caption) == ("a and h", "same bytes: train and test")
    strip = cv2.imdecode(np.frombuffer(base64.b64decode(pair.source.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
    left, right = strip[:, :192].astype(int), strip[:, 196:].astype(int)
    assert np.abs(left - right).mean() < 12, "the same picture twice, apart from compression"


def test_a_long_list_of_values_is_cut_short() -> None:
    scene = {"values": {str(value): 100 - value for value in range(10)}}
    assert mask_values([scene]) == "0, 1, 2, 3, 4, 5 and 4 more"


def test_the_numbers_agree_with_the_tables(tiles: Path) -> None:
    table = pd.read_csv(tiles / "tiles.csv")
    report = json.loads((tiles / "mask_report.json").read_text())["scenes"]
    for row in split_rows(read_packed(tiles).report):
        assert row["tiles"] == (table["split"] == row["split"]).sum()
        assert row["scenes"] == sum(scene["split"] == row["split"] for scene in report)


def test_shares_are_of_what_the_tiles_use() -> None:
    pixels = {"background": 60, "farmland": 30, "ignore": 10}
    scene = {"split": "train", "scene": "a", "height": 10, "width": 10, "tiles": 1, "values": {}, "pixels_snapped": 0}
    [row] = split_rows([{**scene, "pixels": pixels, "used": {"background": 30, "farmland": 10, "ignore": 10}}])
    assert (row["used"], row["ignored"]) == (0.5, 0.2)
    assert row["shares"] == {"background": 0.75, "farmland": 0.25}
