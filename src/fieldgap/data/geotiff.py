"""TIFF and GeoTIFF files, decoded by rasterio from their own bytes, so that no side-car file is read."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.data.raster import Footprint, Raster, check_size, chosen_bands

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

SIGNATURES = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")  # TIFF and BigTIFF, in both byte orders.
SETTINGS = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}
FILTERS = threading.Lock()  # Warning filters belong to the whole process, and several threads read files.


@contextmanager
def _opened(data: bytes, path: Path, max_pixels: int) -> Iterator[DatasetReader]:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with rasterio.Env(**SETTINGS), rasterio.MemoryFile(data) as file:
            with FILTERS, warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning):
                dataset = file.open(driver="GTiff")
            with dataset:
                for rows, columns in {dataset.shape, *dataset.block_shapes}:
                    check_size(columns, rows, path, max_pixels)
                yield dataset
    except (RasterioError, ValueError) as error:
        raise InputError(f"{path}: cannot be decoded ({error}); replace or remove it") from None


def _footprint(dataset: DatasetReader) -> Footprint | None:
    return Footprint(dataset.crs.to_string(), *dataset.bounds) if dataset.crs else None


def tiff_footprint(data: bytes, path: Path, max_pixels: int) -> Footprint | None:
    """Return the footprint that a TIFF's header declares, without decoding pixels."""
    with _opened(data, path, max_pixels) as dataset:
        return _footprint(dataset)


def _upright(pixels: np.ndarray, chosen: Sequence[int], dataset: DatasetReader) -> np.ndarray:
    """Return bands (B, H, W) with 0 for black. A TIFF may store its grey band, the first, with 0 for white."""
    if "MINISWHITE" in dataset.tags(ns="IMAGE_STRUCTURE") and pixels.dtype.kind == "u":
        bits = int(dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", 8 * pixels.itemsize))
        grey = np.array(chosen) == 1
        pixels[grey] = 2**bits - 1 - pixels[grey]
    return pixels


def decode_tiff(data: bytes, path: Path, max_pixels: int, bands: Sequence[int] | None) -> Raster:
    """Decode the bytes of a TIFF; see `images.decode`."""
    with _opened(data, path, max_pixels) as dataset:
        chosen = chosen_bands(dataset.count, bands, path)
        pixels = np.moveaxis(_upright(dataset.read(chosen), chosen, dataset), 0, -1)
        declared = any(flag.name != "all_valid" for flags in dataset.mask_flag_enums for flag in flags)
        alpha_chosen = any(dataset.colorinterp[band - 1].name == "alpha" for band in chosen)
        valid = dataset.dataset_mask() > 0 if declared and not alpha_chosen else None
        return Raster(pixels, valid, _footprint(dataset))
