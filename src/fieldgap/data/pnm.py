"""PBM, PGM and PPM files, read by hand: Pillow and OpenCV stretch values to 255, which spoils the codes of a mask."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fieldgap.data.pictures import damaged
from fieldgap.data.raster import Raster, check_size, picture

SIGNATURES = tuple(f"P{kind}".encode() for kind in range(1, 7))
GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
SIZE = re.compile(rb"P([1-6])" + GAP + rb"(\d{1,9})" + GAP + rb"(\d{1,9})")
HIGHEST = re.compile(GAP + rb"(\d{1,5})")
CHANNELS = {1: 1, 2: 1, 3: 3, 4: 1, 5: 1, 6: 3}


def _from_text(body: bytes, count: int, *, bits: bool) -> np.ndarray:
    """Return the numbers of a file in ASCII. In PBM there need be no space between them."""
    text = re.sub(rb"#[^\r\n]*", b"", body)
    if not re.fullmatch(rb"[\d\s]*", text):
        raise ValueError("it holds more than numbers")
    if bits:
        return np.frombuffer(re.sub(rb"\s", b"", text)[:count], np.uint8).astype(np.int64) - ord("0")
    return np.fromstring(text.decode(), np.int64, sep=" ")[:count]  # Told the count, NumPy makes up what is missing.


def _bits(body: bytes, width: int, height: int) -> np.ndarray:
    rows = np.frombuffer(body, np.uint8, height * -(-width // 8)).reshape(height, -1)
    return np.unpackbits(rows, axis=1)[:, :width]


def _values(kind: int, body: bytes, shape: tuple[int, int, int], highest: int) -> np.ndarray:
    count = shape[0] * shape[1] * shape[2]
    if kind == 4:
        values = _bits(body[1:], shape[1], shape[0])
    elif kind < 4:
        values = _from_text(body, count, bits=kind == 1)
    else:  # One character stands between the header and the pixels.
        values = np.frombuffer(body[1:], np.uint8 if highest < 256 else ">u2", count)
    if values.size and values.max() > highest:
        raise ValueError("it holds values above its highest one")
    return values.reshape(shape).astype(np.uint8 if highest < 256 else np.uint16)


def decode_pnm(data: bytes, path: Path, max_pixels: int, bands: Sequence[int] | None, *, labels: bool) -> Raster:
    """Decode the bytes of a PBM, PGM or PPM file; see `images.decode`. Values are those that are stored.

    In PBM 1 is black, so its bits become 255 and 0, as in other formats.
    """
    del labels  # These files have no palette.
    if not (size := SIZE.match(data)):
        raise damaged(path, "its header is broken")
    kind, width, height = map(int, size.groups())
    check_size(width, height, path, max_pixels)
    highest = None if kind in (1, 4) else HIGHEST.match(data, size.end())
    body = data[highest.end() if highest else size.end() :]
    try:
        values = _values(kind, body, (height, width, CHANNELS[kind]), int(highest[1]) if highest else 1)
        if not values.size or (kind not in (1, 4) and not highest):
            raise ValueError("its header is broken")
    except (ValueError, OverflowError) as error:
        raise damaged(path, error) from None
    return picture(255 * (1 - values) if kind in (1, 4) else values, bands, path)
