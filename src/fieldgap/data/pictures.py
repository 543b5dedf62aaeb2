"""PNG and JPEG files: headers and palettes read by Pillow, pixels by OpenCV."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from fieldgap.base.errors import InputError
from fieldgap.data.raster import Raster, check_size, chosen_bands

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
TO_RGB = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
# What Pillow raises for broken files.
BROKEN = (SyntaxError, OSError, EOFError, ValueError, LookupError, TypeError, struct.error, zlib.error)


@dataclass(frozen=True)
class Header:
    """What a PNG or JPEG says of itself; `indexed` if its pixels are positions in a palette."""

    png: bool
    width: int
    height: int
    indexed: bool


def read_header(data: bytes, path: Path) -> Header:
    """Return the header of a PNG or JPEG, without decoding pixels.

    Raises:
        InputError: The bytes are of another format, or the header is broken.
    """
    if not data.startswith((PNG, JPEG)):
        raise InputError(f"{path}: is not a PNG, JPEG or TIFF file, whatever its name says; replace or remove it")
    png = data.startswith(PNG)
    try:
        image = (PngImageFile if png else JpegImageFile)(io.BytesIO(data))
    except BROKEN as error:
        raise InputError(f"{path}: its header cannot be read ({error}); replace or remove it") from None
    return Header(png, image.width, image.height, indexed=image.mode == "P")


def _damaged(path: Path, detail: object = "it is damaged or cut off") -> InputError:
    return InputError(f"{path}: cannot be decoded ({detail}); replace or remove it")


def _check_chunks(data: bytes, path: Path) -> None:
    # OpenCV allocates what a chunk claims, up to 4 GB, before it reads it, and ignores a second header, unlike Pillow.
    at, name = len(PNG), b""
    while name != b"IEND":
        name, length = data[at + 4 : at + 8], int.from_bytes(data[at : at + 4], "big")
        if at + 12 + length > len(data) or (name == b"IHDR" and at > len(PNG)):
            raise _damaged(path)
        at += 12 + length


def _check_claims(data: bytes, header: Header, path: Path, max_pixels: int) -> None:
    check_size(header.width, header.height, path, max_pixels)
    if header.png:
        _check_chunks(data, path)


def decode_picture(data: bytes, header: Header, path: Path, max_pixels: int, bands: Sequence[int] | None) -> Raster:
    """Decode the bytes of a PNG or JPEG; see `images.decode`.

    Pixels keep the order in which they are stored, whatever EXIF says about rotation: masks are drawn over that order.
    """
    _check_claims(data, header, path, max_pixels)
    try:
        pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise _damaged(path)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else cv2.cvtColor(pixels, TO_RGB[pixels.shape[2]])
    chosen = chosen_bands(pixels.shape[2], bands, path)
    valid = pixels[:, :, 3] > 0 if pixels.shape[2] == 4 and 4 not in chosen else None
    if chosen != list(range(1, pixels.shape[2] + 1)):
        pixels = np.ascontiguousarray(pixels[:, :, [band - 1 for band in chosen]])
    return Raster(pixels, valid, None)


def palette_indices(data: bytes, header: Header, path: Path, max_pixels: int) -> np.ndarray | None:
    """Return the palette positions (H, W) of a PNG, or None if its palette holds only greys.

    Raises:
        InputError: The file is damaged, or claims more than `max_pixels`.
    """
    _check_claims(data, header, path, max_pixels)
    try:
        with PngImageFile(io.BytesIO(data)) as image:
            palette = np.array(image.getpalette()).reshape(-1, 3)
            return np.asarray(image) if (palette != palette[:, :1]).any() else None
    except BROKEN as error:
        raise _damaged(path, error) from None
