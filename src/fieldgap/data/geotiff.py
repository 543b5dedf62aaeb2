"""TIFF, GeoTIFF and JPEG 2000 files, decoded by rasterio from their own bytes, so that no side-car file is read."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.data import jpeg2000
from fieldgap.data.raster import Footprint, Raster, check_size, chosen_bands, is_alpha, picture

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")  # TIFF and BigTIFF, in both byte orders.
JPEG_2000 = (jpeg2000.CONTAINER, jpeg2000.CODESTREAM)
SETTINGS = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}
FILTERS = threading.Lock()  # Warning filters belong to the whole process, and several threads read files.


@contextmanager
def _opened(data: bytes, path: Path, max_pixels: int) -> Iterator[DatasetReader]:
    import rasterio
    from rasterio._err import CPLE_BaseError  # Some properties raise it as it is; it has no public name.
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    if data.startswith(JPEG_2000):
        jpeg2000.check_claims(data, path, max_pixels)
    try:
        with rasterio.Env(**SETTINGS), rasterio.MemoryFile(data) as file:
            with FILTERS, warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning):
                dataset = file.open(driver="GTiff" if data.startswith(TIFF) else "JP2OpenJPEG")
            with dataset:
                for rows, columns in {dataset.shape, *dataset.block_shapes}:
                    check_size(columns, rows, path, max_pixels)
                yield dataset
    except (RasterioError, CPLE_BaseError, ValueError) as error:
        raise InputError(f"{path}: cannot be decoded ({error}); replace or remove it") from None


def _footprint(dataset: DatasetReader) -> Footprint | None:
    placed = dataset.crs and not dataset.transform.is_identity
    return Footprint(dataset.crs.to_string(), *dataset.bounds) if placed else None


def declared_footprint(data: bytes, path: Path, max_pixels: int) -> Footprint | None:
    """Return the footprint that a file's header declares, without decoding pixels."""
    with _opened(data, path, max_pixels) as dataset:
        return _footprint(dataset)


def _white_is_0(dataset: DatasetReader) -> bool:
    return "MINISWHITE" in dataset.tags(ns="IMAGE_STRUCTURE")


def _upright(pixels: np.ndarray, chosen: Sequence[int], dataset: DatasetReader) -> np.ndarray:
    """Return bands (B, H, W) with 0 for black. A TIFF may store its grey band, the first, with 0 for white."""
    if _white_is_0(dataset) and pixels.dtype.kind == "u":
        bits = int(dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", 8 * pixels.itemsize))
        grey = np.array(chosen) == 1
        pixels[grey] = 2**bits - 1 - pixels[grey]
    return pixels


def _alphas(dataset: DatasetReader) -> list[int]:
    return [band for band, kind in enumerate(dataset.colorinterp, 1) if kind.name == "alpha"]


def _valid(dataset: DatasetReader, chosen: Sequence[int]) -> np.ndarray | None:
    """Return where a file declares that it has data (H, W); None if it declares nothing.

    An alpha band that is chosen, or that is none by its values, declares nothing.
    """
    flags = {flag.name for flags in dataset.mask_flag_enums for flag in flags}
    if flags == {"all_valid"} or ("alpha" in flags and set(_alphas(dataset)) & set(chosen)):
        return None
    if "alpha" not in flags:
        return dataset.dataset_mask() > 0
    alpha = dataset.read(_alphas(dataset)[0])
    return alpha > 0 if is_alpha(alpha) else None


def _palette(dataset: DatasetReader) -> np.ndarray | None:
    """Return the palette (V, 4) of a file that has one: red, green, blue and alpha of each value.

    GDAL makes one up for single bits of which 0 is white.
    """
    if dataset.colorinterp[0].name != "palette" or _white_is_0(dataset):
        return None
    palette = np.zeros((np.iinfo(dataset.dtypes[0]).max + 1, 4), np.uint8)
    for value, colour in dataset.colormap(1).items():
        palette[value] = colour
    return palette


def _in_colours(dataset: DatasetReader, palette: np.ndarray, bands: Sequence[int] | None, path: Path) -> Raster:
    colours, valid = palette[dataset.read(1)], _valid(dataset, [1])
    opaque = colours[:, :, 3] > 0
    pixels = picture(colours[:, :, :3], bands, path).pixels
    return Raster(pixels, opaque if valid is None else opaque & valid, _footprint(dataset))


def decode_raster(data: bytes, path: Path, max_pixels: int, bands: Sequence[int] | None, *, labels: bool) -> Raster:
    """Decode the bytes of a TIFF or a JPEG 2000 file; see `images.decode`.

    An alpha band is no band of an image, unless it is asked for or holds more than an alpha channel does.
    """
    with _opened(data, path, max_pixels) as dataset:
        grey = dataset.count == 2 and _alphas(dataset) == [2] and max(bands or [0]) > 2
        chosen = chosen_bands(1 if grey else dataset.count, bands, path)
        pixel_bytes = sum(np.dtype(dataset.dtypes[band - 1]).itemsize for band in chosen)
        check_size(dataset.width, dataset.height, path, max_pixels, pixel_bytes)
        palette = _palette(dataset)
        if palette is not None and not labels:
            return _in_colours(dataset, palette, bands, path)
        read = _upright(dataset.read(chosen), chosen, dataset)
        if bands is None and not labels:
            chosen = [band for band in chosen if band not in _alphas(dataset) or not is_alpha(read[band - 1])] or chosen
            read = read[[band - 1 for band in chosen]] if len(chosen) < dataset.count else read
        pixels = np.moveaxis(read, 0, -1)
        palette = None if palette is None else palette[:, :3]
        return Raster(pixels, _valid(dataset, chosen), _footprint(dataset), palette)
