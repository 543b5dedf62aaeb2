"""A decoded image file, and the checks that all formats share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fieldgap.base.errors import InputError

PIXEL_BYTES = 32  # Four bands of the widest type; many narrow bands fit as long as scenes are smaller than the limit.
OPAQUE = 0.98  # The least share of 0 and full opacity in an alpha band: edges of cut-outs are in between.


@dataclass(frozen=True)
class Footprint:
    """The ground that a georeferenced file covers: its reference system as text, and bounds in the units of that."""

    crs: str
    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True)
class Raster:
    """A decoded file.

    Attributes:
        pixels: (H, W, bands), colours in the order red, green, blue.
        valid: (H, W) bool, False where the file declares that it has no data; None if it declares nothing.
        footprint: None if the file is not georeferenced.
        palette: (V, 3) uint8, the colour of each value if the file has a palette.
    """

    pixels: np.ndarray
    valid: np.ndarray | None
    footprint: Footprint | None
    palette: np.ndarray | None = None


def check_size(width: int, height: int, path: Path, max_pixels: int, pixel_bytes: int = 1) -> None:
    """Refuse a file that claims too much memory, before anything is allocated for it.

    Raises:
        InputError: The file claims more than `max_pixels`, or more bytes than they may have.
    """
    if width * height > max_pixels:
        raise InputError(
            f"{path}: claims {width} x {height} px, more than data.max_pixels ({max_pixels}); "
            "cut it into smaller scenes, or raise the limit if the size is right"
        )
    if width * height * pixel_bytes > max_pixels * PIXEL_BYTES:
        raise InputError(
            f"{path}: claims {width} x {height} px of {pixel_bytes} bytes, more than data.max_pixels ({max_pixels}) "
            f"allows, which counts {PIXEL_BYTES} bytes for each; cut it into smaller scenes, or raise the limit"
        )


def chosen_bands(count: int, bands: Sequence[int] | None, path: Path) -> list[int]:
    """Return the numbers of the bands to read, counting from 1.

    Args:
        count: Number of bands in the file. A single band is read for every band asked for.
        bands: The bands asked for; None asks for all.
        path: The file, for the message.

    Raises:
        InputError: The file lacks a band that is asked for.
    """
    if bands is None:
        return list(range(1, count + 1))
    if count == 1:
        return [1] * len(bands)
    if lacking := [band for band in bands if band > count]:
        raise InputError(f"{path}: has {count} bands, no band {lacking[0]}; set data.bands to bands that it has")
    return list(bands)


def is_alpha(band: np.ndarray) -> bool:
    """Return whether a band (H, W) can be an alpha channel by its values, which are almost only 0 and the highest.

    Many aerial images have their near infrared where a file's header says alpha.
    """
    highest = np.iinfo(band.dtype).max if band.dtype.kind in "iu" else 1
    extreme = (band == 0) | (band == highest) | (band == 255)
    return bool(np.count_nonzero(extreme) >= OPAQUE * band.size or (band == band[:1, :1]).all())


def picture(pixels: np.ndarray, bands: Sequence[int] | None, path: Path) -> Raster:
    """Return the chosen bands of a picture (H, W), (H, W, 3) or (H, W, 4), whose fourth channel is its alpha."""
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    chosen = chosen_bands(pixels.shape[2], bands, path)
    valid = pixels[:, :, 3] > 0 if pixels.shape[2] == 4 and 4 not in chosen else None
    if chosen != list(range(1, pixels.shape[2] + 1)):
        pixels = np.ascontiguousarray(pixels[:, :, [band - 1 for band in chosen]])
    return Raster(pixels, valid, None)
