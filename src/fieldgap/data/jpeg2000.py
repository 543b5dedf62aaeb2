"""What a JPEG 2000 file claims. Its decoder takes memory for each tile as soon as it reads the header."""

from __future__ import annotations

import struct
from pathlib import Path

from fieldgap.data.pictures import damaged
from fieldgap.data.raster import check_size

CONTAINER, CODESTREAM = b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"
MAX_TILES = 16_384  # Of some kilobytes each.


def _codestream(data: bytes) -> int:
    """Return where the codestream begins, in a file that consists of boxes."""
    at = 0
    while not data.startswith(CODESTREAM, at):
        size, kind = struct.unpack_from(">I4s", data, at)
        begin = at + 8
        if size == 1:
            (size,), begin = struct.unpack_from(">Q", data, begin), at + 16
        if kind == b"jp2c":
            at = begin
            break
        if at + size < begin:
            raise ValueError("its boxes are broken")
        at += size
    return at


def check_claims(data: bytes, path: Path, max_pixels: int) -> None:
    """Check size and number of tiles of a file by its header.

    Raises:
        InputError: It claims more than `max_pixels`, or more tiles than a file has, or is damaged.
    """
    try:
        at = _codestream(data)
        right, lower, left, upper, width, height, across, down = struct.unpack_from(">8I", data, at + 8)
        tiles = -(-(right - across) // width) * -(-(lower - down) // height)
    except (struct.error, ValueError, ZeroDivisionError):
        raise damaged(path) from None
    if not data.startswith(CODESTREAM, at) or right <= left or lower <= upper:
        raise damaged(path)
    check_size(right - left, lower - upper, path, max_pixels)
    if tiles > MAX_TILES:
        raise damaged(path, f"it claims {tiles} tiles")
