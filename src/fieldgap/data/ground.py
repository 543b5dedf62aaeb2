"""Image and mask of a scene must cover the same ground, if both say what they cover."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.data.raster import Footprint, Raster

TOLERANCE = 0.5  # In pixels of the image, at each side.


def in_system_of(ground: Footprint, crs: str) -> Footprint | None:
    """Return a footprint in another reference system; as it is if that is the same in another spelling.

    None if the two systems have no relation, as that of a building site has none to others.
    """
    from rasterio._err import CPLE_BaseError  # Raised as it is, and public under no other name.
    from rasterio.crs import CRS
    from rasterio.errors import RasterioError
    from rasterio.warp import transform_bounds

    try:
        if CRS.from_string(ground.crs) == CRS.from_string(crs):
            return Footprint(crs, *astuple(ground)[1:])
        bounds = transform_bounds(ground.crs, crs, *astuple(ground)[1:])
    except (RasterioError, CPLE_BaseError, ValueError):
        return None
    return Footprint(crs, *bounds) if np.isfinite(bounds).all() else None


def _sides(ground: Footprint) -> np.ndarray:
    return np.array(astuple(ground)[1:])


def _text(ground: Footprint) -> str:
    return f"{ground.crs[:60]} {ground.west:.8g} to {ground.east:.8g}, {ground.south:.8g} to {ground.north:.8g}"


def check_fit(image: Raster, image_path: Path, mask: Raster, mask_path: Path) -> None:
    """Check that a mask has the size of its image and covers the same ground.

    Raises:
        InputError: It has another size, or a side of it lies more than half a pixel from that of the image.
    """
    (height, width), (rows, columns) = image.pixels.shape[:2], mask.pixels.shape[:2]
    if (height, width) != (rows, columns):
        raise InputError(
            f"{mask_path}: is {columns} x {rows} px but {image_path.name} is {width} x {height} px; "
            "a mask must have the size of its image"
        )
    if not image.footprint or not mask.footprint or image.footprint == mask.footprint:
        return
    ground, other = image.footprint, in_system_of(mask.footprint, image.footprint.crs)
    pixel = np.abs([(ground.east - ground.west) / width, (ground.north - ground.south) / height] * 2)
    if not other or (np.abs(_sides(ground) - _sides(other)) > TOLERANCE * pixel).any():
        raise InputError(
            f"{mask_path}: covers {_text(mask.footprint)}, but {image_path.name} {_text(image.footprint)}; "
            "pair it with its own image, or correct the georeference of one of them"
        )
