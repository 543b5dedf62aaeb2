"""A decoded image file, and the checks that all formats share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fieldgap.base.errors import InputError


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
        pixels: (H, W, bands) uint8 or uint16, colours in the order red, green, blue.
        valid: (H, W) bool, False where the file declares that it has no data; None if it declares nothing.
        footprint: None if the file is not georeferenced.
    """

    pixels: np.ndarray
    valid: np.ndarray | None
    footprint: Footprint | None


def check_size(width: int, height: int, path: Path, max_pixels: int) -> None:
    """Refuse a file that claims too many pixels, before anything is allocated for them.

    Raises:
        InputError: The file claims more than `max_pixels`.
    """
    if width * height > max_pixels:
        raise InputError(
            f"{path}: claims {width} x {height} px, more than data.max_pixels ({max_pixels}); "
            "cut it into smaller scenes, or raise the limit if the size is right"
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
