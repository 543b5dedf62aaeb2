"""Image and mask files as arrays, whatever their format.

Files may come from anybody. The format is recognised by content, sizes are checked against a limit before anything is
allocated, and each file is decoded from its own bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.data.geotiff import SIGNATURES, decode_tiff, tiff_footprint
from fieldgap.data.pictures import Header, decode_picture, palette_indices, read_header
from fieldgap.data.raster import Footprint, Raster


def read_file(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        InputError: The file cannot be read, or is empty.
    """
    try:
        with path.open("rb", buffering=0) as file:
            data = file.readall()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); fix its permissions or remove it") from None
    if not data:
        raise InputError(f"{path}: is empty; replace or remove it")
    return data


def _header(data: bytes, path: Path) -> Header | None:
    return None if data.startswith(SIGNATURES) else read_header(data, path)


def _decode(data: bytes, header: Header | None, path: Path, max_pixels: int, bands: Sequence[int] | None) -> Raster:
    if header:
        raster = decode_picture(data, header, path, max_pixels, bands)
    else:
        raster = decode_tiff(data, path, max_pixels, bands)
    if raster.pixels.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path}: has {raster.pixels.dtype} pixels; convert them to unsigned 8-bit or 16-bit integers")
    return raster


def read_footprint(path: Path, max_pixels: int) -> Footprint | None:
    """Return where a file lies, from its header alone; None if it does not say.

    Raises:
        InputError: The file cannot be read.
    """
    data = read_file(path)
    return None if _header(data, path) else tiff_footprint(data, path, max_pixels)


def decode(data: bytes, path: Path, max_pixels: int, bands: Sequence[int] | None) -> Raster:
    """Decode an image.

    A fully transparent pixel has no data, unless the alpha channel itself is one of the bands.

    Args:
        data: The bytes of the file.
        path: The file, for messages.
        max_pixels: The largest image to allocate.
        bands: The bands to return, in that order, counting from 1; None returns all.

    Raises:
        InputError: The file is broken, too large, lacks a band, or is not of unsigned 8-bit or 16-bit integers.
    """
    return _decode(data, _header(data, path), path, max_pixels, bands)


def decode_mask(data: bytes, path: Path, max_pixels: int) -> Raster:
    """Decode a mask to values (H, W, 1), or to colours (H, W, 3) if the file is in colour.

    A palette of greys gives its greys. A palette of colours gives its indices, because that is how class masks are
    written. Colour channels that are equal everywhere become one grey channel. Alpha is dropped.

    Raises:
        InputError: As for `decode`.
    """
    header = _header(data, path)
    if header and header.indexed and (indices := palette_indices(data, header, path, max_pixels)) is not None:
        return Raster(indices[:, :, None], None, None)
    raster = _decode(data, header, path, max_pixels, None)
    pixels = raster.pixels[:, :, : 1 if raster.pixels.shape[2] < 3 else 3]
    if pixels.shape[2] == 3 and (pixels == pixels[:, :, :1]).all():
        pixels = pixels[:, :, :1]
    return Raster(np.ascontiguousarray(pixels), raster.valid, raster.footprint)
