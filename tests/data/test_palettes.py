"""A palette that numbers its colours anew in each file must not turn masks around in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from conftest import ELSEWHERE, NORMALIZE, data_in, pair
from PIL import Image
from rasterio.transform import from_origin

from fieldgap.base.errors import InputError
from fieldgap.base.files import write_rows
from fieldgap.data import normalize
from fieldgap.data.palettes import by_colour, check_palettes
from fieldgap.data.reading import read_masks

FARM = np.random.default_rng(0).integers(0, 2, (64, 64)).astype(bool)


def save_gdal(path: Path, positions: np.ndarray, palette: list[int]) -> None:
    colours = np.reshape(palette, (-1, 3)).tolist()
    shape: dict[str, Any] = {"count": 1, "height": 64, "width": 64, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", transform=from_origin(0, 0, 2, 2), **shape) as file:
        file.write(positions, 1)
        file.write_colormap(1, {value: (*colour, 255) for value, colour in enumerate(colours)})


def save_indexed(path: Path, positions: np.ndarray, palette: list[int]) -> None:
    indexed = Image.fromarray(positions.astype(np.uint8), "P")
    indexed.putpalette(palette)
    indexed.save(path)


SAVERS = {".png": save_indexed, ".gif": save_indexed, ".bmp": save_indexed, ".tif": save_gdal}


def in_two_orders(folder: Path, suffix: str) -> None:
    """Write two masks that look the same, one with black first in its palette, one with green."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for index, name in enumerate("ab"):
        cv2.imwrite(str(folder / f"images/{name}.png"), np.random.default_rng(index).integers(0, 255, (64, 64, 3)))
    SAVERS[suffix](folder / f"masks/a_mask{suffix}", FARM.astype(np.uint8), [0, 0, 0, 0, 255, 0])
    SAVERS[suffix](folder / f"masks/b_mask{suffix}", (~FARM).astype(np.uint8), [0, 255, 0, 0, 0, 0])
    rows = [
        {"scene": name, "group": name, "split": split, "fold": ""} for name, split in (("a", "train"), ("b", "val"))
    ]
    write_rows(folder / "split.csv", rows)


NUMBERS = {"foreground": ("1",), "background": ("0",)}
COLOURS = {"foreground": ("#00ff00",), "background": ("#000000",)}


@pytest.mark.parametrize("suffix", SAVERS)
def test_numbers_that_change_their_colour_stop_both_stages(suffix: str, tmp_path: Path) -> None:
    in_two_orders(tmp_path, suffix)
    data = data_in(tmp_path, mask_pattern=f"{{stem}}_mask{suffix}", **NUMBERS)
    message = (
        rf"b_mask{suffix}: the palette shows its value \d as #\w+, that of a_mask{suffix} as #\w+; .* list colours"
    )
    with pytest.raises(InputError, match=message):
        normalize.run(data, tmp_path / "split.csv", ELSEWHERE, tmp_path / "tiles", NORMALIZE)
    assert not list((tmp_path / "tiles").iterdir())
    with pytest.raises(InputError, match=message):
        list(read_masks(pair(tmp_path / "images", tmp_path / "masks", data.mask_pattern), data))


@pytest.mark.parametrize("suffix", SAVERS)
def test_colours_are_read_whatever_their_order(suffix: str, tmp_path: Path) -> None:
    in_two_orders(tmp_path, suffix)
    data = data_in(tmp_path, mask_pattern=f"{{stem}}_mask{suffix}", **COLOURS)
    normalize.run(data, tmp_path / "split.csv", ELSEWHERE, tmp_path / "tiles", NORMALIZE)
    masks = np.load(tmp_path / "tiles/masks.npy")
    assert np.array_equal(masks[:4], masks[4:])
    assert np.array_equal(masks[0], FARM[:32, :32])


def test_palettes_that_agree_where_they_are_used_are_one(tmp_path: Path) -> None:
    in_two_orders(tmp_path, ".png")
    save_indexed(tmp_path / "masks/b_mask.png", FARM, [0, 0, 0, 0, 255, 0, 250, 0, 0])
    data = data_in(tmp_path, **NUMBERS)
    normalize.run(data, tmp_path / "split.csv", ELSEWHERE, tmp_path / "tiles", NORMALIZE)
    masks = np.load(tmp_path / "tiles/masks.npy")
    assert np.array_equal(masks[:4], masks[4:])


def test_greys_and_colours_are_compared_too(tmp_path: Path) -> None:
    """A file that holds only black and white has a palette of greys, and gives its greys."""
    in_two_orders(tmp_path, ".png")
    save_indexed(tmp_path / "masks/a_mask.png", FARM, [0, 0, 0, 255, 255, 255])
    save_indexed(tmp_path / "masks/b_mask.png", FARM, [255, 255, 255, 0, 200, 0])
    data = data_in(tmp_path, foreground=("255", "1"), background=("0",))
    with pytest.raises(InputError, match=r"b_mask\.png: the palette shows its value 0 as #ffffff, that of a_mask\.png"):
        normalize.run(data, tmp_path / "split.csv", ELSEWHERE, tmp_path / "tiles", NORMALIZE)


def test_counts_by_value_are_counts_by_colour() -> None:
    colours = {"0": "#000000", "1": "#00ff00", "7": "#000000"}
    assert by_colour({"0": 5, "1": 3, "7": 2}, colours) == {"#000000": 7, "#00ff00": 3}
    assert by_colour({"0": 5, "255": 3}, {}) == {"0": 5, "255": 3}


def test_the_first_two_files_in_order_are_named() -> None:
    masks = [(Path(name), {"0": "#000000", "1": colour}) for name, colour in (("a", "#f"), ("b", "#f"), ("c", "#g"))]
    check_palettes(masks[:2])
    with pytest.raises(InputError, match=r"^c: the palette shows its value 1 as #g, that of a as #f"):
        check_palettes(masks)
