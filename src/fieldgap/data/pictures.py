"""PNG and JPEG files: headers and palettes read by Pillow, pixels by OpenCV, which is faster."""

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
from fieldgap.data.palettes import indexed
from fieldgap.data.raster import Raster, check_size, picture

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
        InputError: The header is broken.
    """
    png = data.startswith(PNG)
    try:
        image = (PngImageFile if png else JpegImageFile)(io.BytesIO(data))
    except BROKEN as error:
        raise InputError(f"{path}: its header cannot be read ({error}); replace or remove it") from None
    return Header(png, image.width, image.height, indexed=image.mode == "P")


def damaged(path: Path, detail: object = "it is damaged or cut off") -> InputError:
    """Return the error for a file whose pixels cannot be decoded."""
    return InputError(f"{path}: cannot be decoded ({detail}); replace or remove it")


def _check_chunks(data: bytes, path: Path) -> None:
    # OpenCV allocates what a chunk claims, up to 4 GB, before it reads it, and ignores a second header, unlike Pillow.
    at, name = len(PNG), b""
    while name != b"IEND":
        name, length = data[at + 4 : at + 8], int.from_bytes(data[at : at + 4], "big")
        if at + 12 + length > len(data) or (name == b"IHDR" and at > len(PNG)):
            raise damaged(path)
        at += 12 + length


def decode_picture(data: bytes, path: Path, max_pixels: int, bands: Sequence[int] | None, *, labels: bool) -> Raster:
    """Decode the bytes of a PNG or JPEG; see `images.decode`.

    Pixels keep the order in which they are stored, whatever EXIF says about rotation: masks are drawn over that order.
    """
    header = read_header(data, path)
    check_size(header.width, header.height, path, max_pixels)
    if header.png:
        _check_chunks(data, path)
    if labels and header.indexed:
        return _positions(data, path)
    try:
        pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise damaged(path)
    return picture(pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, TO_RGB[pixels.shape[2]]), bands, path)


def _positions(data: bytes, path: Path) -> Raster:
    try:
        with PngImageFile(io.BytesIO(data)) as image:
            return indexed(np.array(image), image.getpalette() or [], None)
    except BROKEN as error:
        raise damaged(path, error) from None
