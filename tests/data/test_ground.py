"""A mask that is georeferenced elsewhere than its image belongs to another scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import data_in
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin

from fieldgap.base.errors import InputError
from fieldgap.data.images import read_footprint
from fieldgap.data.masks import table_of
from fieldgap.data.reading import read_scene

WKT = CRS.from_epsg(32615).to_wkt(version="WKT1_GDAL").replace("WGS 84 / UTM zone 15N", "my own zone")
LOCAL = 'LOCAL_CS["site",UNIT["metre",1]]'


def save(path: Path, pixels: np.ndarray, crs: str | None, west: float = 500_000, step: float = 2.0) -> Path:
    shape: dict[str, Any] = {"count": len(pixels), "height": 32, "width": 64, "dtype": "uint8", "crs": crs}
    with rasterio.open(path, "w", driver="GTiff", transform=from_origin(west, 4_500_000, step, step), **shape) as file:
        file.write(pixels)
    return path


def read(folder: Path, crs: str | None, west: float = 500_000, step: float = 2.0, image_crs: str = "EPSG:32615") -> Any:
    image = save(folder / "a.tif", np.zeros((3, 32, 64), np.uint8), image_crs)
    mask = save(folder / "a_mask.tif", np.zeros((1, 32, 64), np.uint8), crs, west, step)
    data = data_in(folder)
    return read_scene(image, mask, data, table_of(data))


@pytest.mark.parametrize("crs", ["EPSG:32615", WKT, "+proj=utm +zone=15 +datum=WGS84", "EPSG:26915", None])
@pytest.mark.parametrize("shift", [0, 0.9, -0.9])
def test_the_same_ground_is_accepted_in_any_spelling(crs: str | None, shift: float, tmp_path: Path) -> None:
    assert read(tmp_path, crs, 500_000 + shift).classes.shape == (32, 64)


@pytest.mark.parametrize(
    ("crs", "west", "step"),
    [
        ("EPSG:32615", 500_001.1, 2),
        ("EPSG:32615", 800_000, 2),
        ("EPSG:32615", 500_000, 2.1),
        ("EPSG:32616", 500_000, 2),
        (WKT, 500_010, 2),
        (LOCAL, 500_000, 2),
    ],
)
def test_other_ground_is_refused_with_both_footprints(crs: str, west: float, step: float, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read(tmp_path, crs, west, step)
    message = str(error.value)
    assert message.startswith(f"{tmp_path}/a_mask.tif: covers ")
    assert f"{west:.8g} to " in message
    assert "but a.tif EPSG:32615 500000 to 500128, 4499936 to 4500000; pair it with its own image" in message


def test_a_system_without_a_place_says_nothing(tmp_path: Path) -> None:
    """Some programs copy the coordinate system of an image to its mask, but not the transform."""
    path = tmp_path / "m.tif"
    shape: dict[str, Any] = {"count": 1, "height": 32, "width": 64, "dtype": "uint8", "crs": "EPSG:32615"}
    with pytest.warns(NotGeoreferencedWarning), rasterio.open(path, "w", driver="GTiff", **shape):
        pass
    assert read_footprint(path, 10_000) is None


def test_a_local_system_is_compared_with_itself(tmp_path: Path) -> None:
    assert read(tmp_path, LOCAL, image_crs=LOCAL).classes.shape == (32, 64)
    with pytest.raises(InputError, match="covers LOCAL_CS"):
        read(tmp_path, LOCAL, 500_010, image_crs=LOCAL)
