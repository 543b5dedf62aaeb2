"""Decoded masks as labels: whole numbers that params.yaml can list, or colours of 8 bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.base.labels import HIGHEST, LOWEST
from fieldgap.data.raster import Raster, is_alpha

NO_VALUE = HIGHEST + 1  # Stands for NaN, and for what a file declares as no data and no label can be.


def _without_alpha(pixels: np.ndarray, path: Path) -> np.ndarray:
    """Return the channels of a mask (H, W, channels) without its alpha, one grey or three of colour."""
    channels = pixels.shape[2]
    if channels in (1, 3):
        return pixels
    alpha = pixels[:, :, -1]
    if channels > 4 or (channels == 2 and not is_alpha(alpha)):
        raise InputError(
            f"{path}: has {channels} bands; a mask has one band of numbers or three of colour, "
            "so write the class of each pixel as one number"
        )
    kept = pixels[:, :, :-1]
    if (kept == kept[:1, :1]).all() and (alpha != alpha[0, 0]).any():
        raise InputError(
            f"{path}: has one colour, and differs only in its transparency; save its alpha channel as a grey mask, "
            "or remove that channel if it holds no labels"
        )
    return kept


def _colours(pixels: np.ndarray, path: Path) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    if not ((pixels >= 0) & (pixels <= 255)).all() or (pixels != np.rint(pixels)).any():
        raise InputError(f"{path}: has colours beyond 8 bits; save it with whole numbers from 0 to 255 in each band")
    return pixels.astype(np.uint8)


def _numbers(pixels: np.ndarray, valid: np.ndarray | None, path: Path) -> np.ndarray:
    """Return the numbers (H, W) of a mask as uint16, or as int32 with NO_VALUE if some are below 0 or none."""
    pixels = pixels.astype(np.float32) if pixels.dtype == np.float16 else pixels  # Which does not reach HIGHEST.
    fit = (pixels >= LOWEST) & (pixels <= HIGHEST) & (pixels == np.rint(pixels))
    no_data = np.isnan(pixels)
    if valid is not None:
        no_data |= ~valid & ~fit
    if (unfit := ~(fit | no_data)).any():
        raise InputError(
            f"{path}: contains {pixels[unfit][0]}; labels are whole numbers from {LOWEST} to {HIGHEST}, so convert "
            "the mask, or declare this value as its no data"
        )
    numbers = np.where(no_data, NO_VALUE, pixels).astype(np.int32)
    return numbers if no_data.any() or numbers.min() < 0 else numbers.astype(np.uint16)


def as_labels(raster: Raster, path: Path) -> Raster:
    """Return a decoded mask as numbers (H, W, 1) of uint8, uint16 or int32, or as colours (H, W, 3) of uint8.

    Raises:
        InputError: It holds other numbers than labels, other bands, or labels in its alpha channel alone.
    """
    pixels = _without_alpha(raster.pixels, path)
    if pixels.dtype.kind not in "biuf":
        raise InputError(f"{path}: has {pixels.dtype} pixels; labels are whole numbers")
    if pixels.shape[2] == 3 and (pixels == pixels[:, :, :1]).all():
        pixels = pixels[:, :, :1]
    if pixels.shape[2] == 3:
        pixels = _colours(pixels, path)
    elif pixels.dtype.name not in ("uint8", "uint16"):
        pixels = _numbers(pixels[:, :, 0], raster.valid, path)[:, :, None]
    return replace(raster, pixels=np.ascontiguousarray(pixels))
