"""Image and mask files to arrays: PNG and JPEG through OpenCV, TIFF and GeoTIFF through rasterio, told by content.

Files come from anybody. What a header claims is held against a limit before anything is allocated, no file is read
that is none, and side-car files are never looked at: each file is decoded from its own bytes.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from fieldgap.base.errors import InputError

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")  # And BigTIFF, of both byte orders.
# What Pillow raises for broken files.
BROKEN = (SyntaxError, OSError, EOFError, ValueError, LookupError, TypeError, struct.error, zlib.error)
FILTERS = threading.Lock()  # Filters of warnings belong to the whole process, and files are read by several threads.


@dataclass(frozen=True)
class Footprint:
    """Where a georeferenced file lies: the text of its reference system, and its bounds in the units of that."""

    crs: str
    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True)
class Raster:
    """A decoded file: pixels (H, W, bands) uint8 or uint16, colours as red, green, blue; valid (H, W) bool.

    `valid` is False where the file declares that it has no data, and None when it declares nothing.
    """

    pixels: np.ndarray
    valid: np.ndarray | None
    footprint: Footprint | None


@dataclass(frozen=True)
class Head:
    """What a PNG or JPEG says of itself; `indexed` where its pixels are numbers of a palette, `plain` by is_plain()."""

    kind: str
    width: int
    height: int
    indexed: bool
    plain: bool


def content(path: Path) -> bytes:
    """-> the bytes of a file. Raises InputError when there are none."""
    try:
        with path.open("rb", buffering=0) as file:
            data = file.readall()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); mend its permissions or remove it") from None
    if not data:
        raise InputError(f"{path}: holds no byte; replace or remove it")
    return data


def is_plain(data: bytes) -> bool:
    """-> whether these are a PNG of a header and pixels alone, all of whose chunks are there.

    Then its header lies where it must, and Pillow, which reads all that may stand before the pixels, is not needed.
    """
    at, names = len(PNG), [b""]
    while data.startswith(PNG) and names[-1] != b"IEND" and at + 12 <= len(data):
        names.append(data[at + 4 : at + 8])
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    header_length = int.from_bytes(data[8:12], "big")
    return at <= len(data) and names[1:2] == [b"IHDR"] and header_length == 13 and set(names[2:]) == {b"IDAT", b"IEND"}


def header(data: bytes, path: Path) -> Head | None:
    """-> the header of a PNG or JPEG, nothing decoded; None for a TIFF. Raises InputError for any other content."""
    if data.startswith(TIFF):
        return None
    if not data.startswith((PNG, JPEG)):
        raise InputError(f"{path}: is no PNG, JPEG or TIFF, whatever its name says; replace or remove it")
    if is_plain(data):
        width, height = struct.unpack_from(">II", data, 16)
        return Head("PNG", width, height, indexed=False, plain=True)
    try:
        image = (JpegImageFile if data.startswith(JPEG) else PngImageFile)(io.BytesIO(data))
        return Head(str(image.format), image.width, image.height, indexed=image.mode == "P", plain=False)
    except BROKEN as error:
        raise InputError(f"{path}: its header cannot be read ({error}); replace or remove it") from None


def check_size(width: int, height: int, path: Path, max_pixels: int) -> None:
    """Raises InputError for more pixels than are allowed, before anything is allocated for them."""
    if width * height > max_pixels:
        raise InputError(
            f"{path}: claims {width} x {height} px, more than data.max_pixels ({max_pixels}); "
            "cut it into scenes, or raise the limit if it is true"
        )


@contextmanager
def opened(data: bytes, path: Path, max_pixels: int) -> Iterator[DatasetReader]:
    """Yields a TIFF from memory, its size checked. Raises InputError when it is broken."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    settings = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}
    try:
        with rasterio.Env(**settings), rasterio.MemoryFile(data) as file:
            with FILTERS, warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning):
                dataset = file.open(driver="GTiff")
            with dataset:
                for rows, columns in {dataset.shape, *dataset.block_shapes}:
                    check_size(columns, rows, path, max_pixels)
                yield dataset
    except (RasterioError, ValueError) as error:
        raise InputError(f"{path}: cannot be decoded ({error}); replace or remove it") from None


def footprint_of(dataset: DatasetReader) -> Footprint | None:
    return Footprint(dataset.crs.to_string(), *dataset.bounds) if dataset.crs else None


def read_footprint(path: Path, max_pixels: int) -> Footprint | None:
    """-> where a file lies, from its header alone; None for a file that does not say."""
    data = content(path)
    if header(data, path):
        return None
    with opened(data, path, max_pixels) as dataset:
        return footprint_of(dataset)


def decode_tiff(data: bytes, path: Path, max_pixels: int, bands: Sequence[int] | None) -> Raster:
    with opened(data, path, max_pixels) as dataset:
        chosen = chosen_bands(dataset.count, bands, path)
        pixels = np.moveaxis(dataset.read(chosen), 0, -1)
        declared = any(flag.name != "all_valid" for flags in dataset.mask_flag_enums for flag in flags)
        asked = any(dataset.colorinterp[band - 1].name == "alpha" for band in chosen)
        valid = dataset.dataset_mask() > 0 if declared and not asked else None
        return Raster(pixels, valid, footprint_of(dataset))


def chosen_bands(count: int, bands: Sequence[int] | None, path: Path) -> list[int]:
    """-> the numbers, from 1, of the bands to read; a single band stands for each that is asked for.

    None asks for all. Raises InputError for a band that is not there.
    """
    if bands is None:
        return list(range(1, count + 1))
    if count == 1:
        return [1] * len(bands)
    if lacking := [band for band in bands if band > count]:
        raise InputError(f"{path}: has {count} bands, no band {lacking[0]}; set data.bands to bands that it has")
    return list(bands)


def check_chunks(data: bytes, path: Path) -> None:
    """Raises InputError for a PNG with a chunk that is longer than the file, or with a second header.

    OpenCV allocates what a chunk claims, up to 4 GB, before it reads it, and passes over a second header.
    """
    at, name = 8, b""
    while name != b"IEND":
        name, length = data[at + 4 : at + 8], int.from_bytes(data[at : at + 4], "big")
        if at + 12 + length > len(data) or (name == b"IHDR" and at > 8):
            raise InputError(f"{path}: cannot be decoded whole; replace or remove it")
        at += 12 + length


TO_RGB = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}


def decode_picture(data: bytes, head: Head, path: Path, max_pixels: int, bands: Sequence[int] | None) -> Raster:
    check_size(head.width, head.height, path, max_pixels)
    if head.kind == "PNG" and not head.plain:
        check_chunks(data, path)
    try:
        # Stored order: a mask is drawn over the pixels as they are stored, whatever EXIF says of turning them.
        pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise InputError(f"{path}: cannot be decoded whole; replace or remove it")
    pixels = pixels[:, :, None] if pixels.ndim == 2 else cv2.cvtColor(pixels, TO_RGB[pixels.shape[2]])
    chosen = chosen_bands(pixels.shape[2], bands, path)
    valid = pixels[:, :, 3] > 0 if pixels.shape[2] == 4 and 4 not in chosen else None
    if chosen != list(range(1, pixels.shape[2] + 1)):
        pixels = np.ascontiguousarray(pixels[:, :, [band - 1 for band in chosen]])
    return Raster(pixels, valid, None)


def decode(data: bytes, path: Path, max_pixels: int, bands: Sequence[int] | None) -> Raster:
    """-> the file's pixels, `bands` of them in that order, or all. Raises InputError when it cannot be had whole.

    A fully transparent pixel holds no data, unless the alpha channel itself is asked for as a band.
    """
    return decode_headed(data, header(data, path), path, max_pixels, bands)


def decode_headed(data: bytes, head: Head | None, path: Path, max_pixels: int, bands: Sequence[int] | None) -> Raster:
    raster = decode_picture(data, head, path, max_pixels, bands) if head else decode_tiff(data, path, max_pixels, bands)
    if raster.pixels.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path}: holds {raster.pixels.dtype}; convert it to unsigned integers of 8 or 16 bits")
    return raster


def palette_indices(data: bytes, path: Path, max_pixels: int) -> np.ndarray | None:
    """-> the indices (H, W) of a PNG with a palette of colours; None for a palette of greys."""
    try:
        with PngImageFile(io.BytesIO(data)) as image:
            check_size(*image.size, path, max_pixels)
            check_chunks(data, path)
            palette = np.array(image.getpalette()).reshape(-1, 3)
            return np.asarray(image) if (palette != palette[:, :1]).any() else None
    except BROKEN as error:
        raise InputError(f"{path}: cannot be decoded whole ({error}); replace or remove it") from None


def decode_mask(data: bytes, path: Path, max_pixels: int) -> Raster:
    """-> a mask: (H, W, 1) of values, or (H, W, 3) of colours where the file is in colour.

    A palette of greys gives its greys, one of colours its indices, which is how class masks are written. Colour
    channels that agree everywhere are one grey. Alpha is dropped.
    """
    head = header(data, path)
    if head and head.indexed and (indices := palette_indices(data, path, max_pixels)) is not None:
        return Raster(indices[:, :, None], None, None)
    raster = decode_headed(data, head, path, max_pixels, None)
    pixels = raster.pixels[:, :, : 1 if raster.pixels.shape[2] < 3 else 3]
    if pixels.shape[2] == 3 and (pixels == pixels[:, :, :1]).all():
        pixels = pixels[:, :, :1]
    return Raster(np.ascontiguousarray(pixels), raster.valid, raster.footprint)
