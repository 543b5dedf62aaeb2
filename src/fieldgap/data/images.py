"""Image and mask files as arrays, whatever their format.

Files may come from anybody. The format is recognised by content, sizes are checked against a limit before anything is
allocated, and each file is decoded from its own bytes, by the one decoder of its format.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.data import arrays, bitmaps, geotiff, pictures, pnm
from fieldgap.data.raster import Footprint, Raster
from fieldgap.data.whole import as_labels

Decoder = Callable[..., Raster]
DECODERS: tuple[tuple[tuple[bytes, ...], Decoder], ...] = (
    ((pictures.PNG, pictures.JPEG), pictures.decode_picture),
    ((*geotiff.TIFF, *geotiff.JPEG_2000), geotiff.decode_raster),
    ((bitmaps.BMP, *bitmaps.GIF, bitmaps.RIFF), bitmaps.decode_bitmap),
    (pnm.SIGNATURES, pnm.decode_pnm),
    ((arrays.NPY, arrays.ZIP), arrays.decode_array),
)
# Types that the steps after this one do not know, and what they become.
WIDER = {"bool": "uint8", "int8": "int16", "float16": "float32", "int64": "float64", "uint64": "float64"}


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


def _decoder(data: bytes, path: Path) -> Decoder:
    for signatures, decoder in DECODERS:
        if data.startswith(signatures):
            return decoder
    raise InputError(
        f"{path}: is not a PNG, JPEG, TIFF, JPEG 2000, BMP, GIF, WebP, PNM or NumPy file, whatever its name says; "
        "replace or remove it"
    )


def read_footprint(path: Path, max_pixels: int) -> Footprint | None:
    """Return where a file lies, from its header alone; None if it does not say.

    Raises:
        InputError: The file cannot be read.
    """
    data = read_file(path)
    return geotiff.declared_footprint(data, path, max_pixels) if _decoder(data, path) is geotiff.decode_raster else None


def _known_type(raster: Raster, path: Path) -> Raster:
    """Return a raster in one of the types that can be scaled, pixels that are not finite as no data."""
    if (kind := raster.pixels.dtype).name in ("uint8", "uint16"):
        return raster
    if kind.kind not in "biuf":
        raise InputError(f"{path}: has {kind} pixels; convert them to integers or floating point")
    pixels = raster.pixels.astype(WIDER.get(kind.name, kind.name))
    finite = np.isfinite(pixels).all(2)
    if finite.all():
        return replace(raster, pixels=pixels)
    pixels[~finite] = 0
    return replace(raster, pixels=pixels, valid=finite if raster.valid is None else finite & raster.valid)


def decode(data: bytes, path: Path, max_pixels: int, bands: Sequence[int] | None) -> Raster:
    """Decode an image.

    A fully transparent pixel has no data, unless the alpha channel itself is one of the bands. Nor has a pixel that is
    not finite in some band.

    Args:
        data: The bytes of the file.
        path: The file, for messages.
        max_pixels: The largest image to allocate.
        bands: The bands to return, in that order, counting from 1; None returns all.

    Returns:
        Pixels of uint8, uint16, int16, int32, uint32, float32 or float64.

    Raises:
        InputError: The file is broken, too large, lacks a band, or does not hold numbers.
    """
    return _known_type(_decoder(data, path)(data, path, max_pixels, bands, labels=False), path)


def decode_mask(data: bytes, path: Path, max_pixels: int) -> Raster:
    """Decode a mask to whole numbers (H, W, 1), or to colours (H, W, 3) if the file is in colour.

    A palette of greys gives its greys. A palette of colours gives positions in it, because that is how class masks are
    written, and comes along. Colour channels that are equal everywhere become one grey channel. Alpha is dropped.

    Raises:
        InputError: As for `decode`, or the file holds no labels; see `whole.as_labels`.
    """
    return as_labels(_decoder(data, path)(data, path, max_pixels, None, labels=True), path)
