"""BMP, GIF and WebP files, decoded by Pillow's own class for each, so that no other decoder can be reached."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.WebPImagePlugin import WebPImageFile

from fieldgap.base.errors import InputError
from fieldgap.data.palettes import indexed
from fieldgap.data.pictures import BROKEN, damaged
from fieldgap.data.raster import Raster, check_size, picture

BMP, GIF, RIFF = b"BM", (b"GIF87a", b"GIF89a"), b"RIFF"
SIZES = {b"VP8X": ("<24xHBHB", 24), b"VP8L": ("<21xI", 14), b"VP8 ": ("<26xHH", 14)}


def webp_size(data: bytes) -> tuple[int, int]:
    """Return width and height that a WebP file claims. Pillow allocates them before it tells.

    Raises:
        ValueError: The bytes are no WebP file.
    """
    if data[8:12] != b"WEBP" or (kind := data[12:16]) not in SIZES:
        raise ValueError("its header is broken")
    layout, bits = SIZES[kind]
    numbers = struct.unpack_from(layout, data)
    if kind == b"VP8X":
        return 1 + numbers[0] + (numbers[1] << 16), 1 + numbers[2] + (numbers[3] << 16)
    if kind == b"VP8L":
        return 1 + (numbers[0] & 2**bits - 1), 1 + (numbers[0] >> bits & 2**bits - 1)
    return numbers[0] & 2**bits - 1, numbers[1] & 2**bits - 1


def _opened(data: bytes, path: Path, max_pixels: int) -> ImageFile.ImageFile:
    if data.startswith(RIFF):
        check_size(*webp_size(data), path, max_pixels)
        return WebPImageFile(io.BytesIO(data))
    return (BmpImageFile if data.startswith(BMP) else GifImageFile)(io.BytesIO(data))


def _raster(image: ImageFile.ImageFile, path: Path, bands: Sequence[int] | None, *, labels: bool) -> Raster:
    clear = image.info.get("transparency") if image.mode in ("P", "L") else None
    valid = np.array(image) != clear if isinstance(clear, int) else None
    if image.mode == "P" and labels:
        return indexed(np.array(image), image.getpalette() or [], valid)
    kept = image.mode in ("L", "RGB", "RGBA")
    pixels = np.array(image if kept else image.convert("L" if image.mode == "1" else "RGB"))
    raster = picture(pixels, bands, path)
    return raster if valid is None else Raster(raster.pixels, valid, None)


def decode_bitmap(data: bytes, path: Path, max_pixels: int, bands: Sequence[int] | None, *, labels: bool) -> Raster:
    """Decode the bytes of a BMP, GIF or WebP file; see `images.decode`."""
    try:
        with _opened(data, path, max_pixels) as image:
            check_size(*image.size, path, max_pixels)
            if getattr(image, "is_animated", False):
                raise InputError(f"{path}: holds several frames; save the one that counts as a file of its own")
            return _raster(image, path, bands, labels=labels)
    except (*BROKEN, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise damaged(path, error) from None
