"""NumPy's .npy and .npz files. Nothing in them is unpickled, and no size is believed before it is checked."""

from __future__ import annotations

import io
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.data.pictures import damaged
from fieldgap.data.raster import Raster, check_size, chosen_bands

NPY, ZIP = b"\x93NUMPY", b"PK\x03\x04"
LONGEST = 10_000  # Bytes of a header.
HEADER = re.compile(
    r"\{\s*'descr':\s*'([<>|=]?[biufc]\d{1,2})',\s*'fortran_order':\s*(True|False),"
    r"\s*'shape':\s*\(([\d, ]*)\),?\s*\}\s*"
)
LAYOUT = "store height x width, or height x width x bands"
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    RuntimeError,
)


def _header(start: bytes) -> tuple[np.dtype, bool, tuple[int, ...], int]:
    """Return the type of the numbers, whether columns come first, the shape, and where the numbers begin."""
    long = start[6:7] != b"\x01"
    size, begin = struct.unpack_from("<I" if long else "<H", start, 8)[0], 12 if long else 10
    header = HEADER.fullmatch(start[begin : begin + size].decode("latin1"))
    if not start.startswith(NPY) or not header or size > LONGEST:
        raise ValueError("its header is broken, or it holds more than plain numbers")
    shape = tuple(int(side) for side in header[3].split(",") if side.strip())
    return np.dtype(header[1]), header[2] == "True", shape, begin + size


def band_axis(shape: Sequence[int]) -> int | None:
    """Return which of three axes counts the bands, the first or the last; None if that is not clear.

    It is the one that is at most half as long as both others.
    """
    clear = [axis for axis in (0, 2) if 2 * shape[axis] <= min(side for i, side in enumerate(shape) if i != axis)]
    return clear[0] if len(clear) == 1 else None


def _upright(array: np.ndarray, path: Path) -> np.ndarray:
    """Return an array of two or three axes as (H, W, bands)."""
    if array.ndim == 2:
        return array[:, :, None]
    if (axis := band_axis(array.shape)) is None:
        raise InputError(f"{path}: has the shape {array.shape}, which does not say which axis counts bands; {LAYOUT}")
    return np.moveaxis(array, axis, 2)


def _read(stream: IO[bytes], path: Path, max_pixels: int) -> np.ndarray:
    """Return the array (H, W, bands) in a stream of an .npy file, of which no more is read than its shape says."""
    start = stream.read(LONGEST)
    kind, columns_first, shape, begin = _header(start)
    if len(shape) not in (2, 3) or 0 in shape:
        raise InputError(f"{path}: has the shape {shape}; {LAYOUT}, one scene per file")
    size = int(np.prod(shape, dtype=object)) * kind.itemsize
    height, width = shape[:2] if len(shape) == 2 else np.delete(shape, band_axis(shape) or 0)
    check_size(int(width), int(height), path, max_pixels, size // (int(width) * int(height)))
    numbers = start[begin:] + stream.read(max(size - len(start) + begin, 0))
    if len(numbers) < size:
        raise ValueError("it is cut off")
    array = np.frombuffer(numbers, kind, size // kind.itemsize).reshape(shape, order="F" if columns_first else "C")
    return _upright(array.astype(kind.newbyteorder("=")), path)


def _member(archive: zipfile.ZipFile, path: Path, wanted: str) -> str:
    """Return the name of the only array in an archive, or of the one that is wanted."""
    names = [name for name in archive.namelist() if name.endswith(".npy")]
    if len(names) == 1:
        return names[0]
    if f"{wanted}.npy" in names:
        return f"{wanted}.npy"
    held = ", ".join(name.removesuffix(".npy") for name in names[:8]) or "none"
    raise InputError(f"{path}: holds {len(names)} arrays ({held}); store one, or name it {wanted}")


def decode_array(data: bytes, path: Path, max_pixels: int, bands: Sequence[int] | None, *, labels: bool) -> Raster:
    """Decode the bytes of an .npy or .npz file; see `images.decode`. An .npz holds one array, or `image` or `mask`."""
    try:
        if data.startswith(NPY):
            array = _read(io.BytesIO(data), path, max_pixels)
        else:
            with (
                zipfile.ZipFile(io.BytesIO(data)) as archive,
                archive.open(_member(archive, path, "mask" if labels else "image")) as member,
            ):
                array = _read(member, path, max_pixels)
    except BROKEN as error:
        raise damaged(path, error) from None
    chosen = chosen_bands(array.shape[2], bands, path)
    return Raster(np.ascontiguousarray(array[:, :, [band - 1 for band in chosen]]), None, None)
