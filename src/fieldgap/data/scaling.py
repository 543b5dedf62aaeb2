"""Bands to 8 bits, by fixed limits or by percentiles of the training scenes, the same for all tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from fieldgap.data.raster import Raster

LEVELS = 65536
Limits = list[tuple[float, float]]  # For each band, the values that become 0 and 255.
Images = Callable[[], Iterable[Raster]]  # Reads all images anew at each call.


def keys_of(values: np.ndarray) -> np.ndarray:
    """Return whole numbers from 0 in the order of some values, of 32 bits or less, so that they can be counted.

    Values of float64 are rounded to float32.
    """
    if values.dtype == np.uint16:
        return values
    if values.dtype.kind != "f":
        return (values.astype(np.int64) - np.iinfo(values.dtype).min).astype(np.uint32)
    range_ = np.finfo(np.float32)
    bits = np.clip(values, range_.min, range_.max).astype(np.float32).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(2**31))


def value_of(key: int, kind: np.dtype) -> float:
    """Return the value of a type that has a key."""
    if kind.kind != "f":
        return float(key + np.iinfo(kind).min)
    return float(np.uint32(key - 2**31 if key >> 31 else 2**32 - 1 - key).view(np.float32))


def _keys(images: Images, kind: np.dtype) -> Iterator[np.ndarray]:
    """Yield the keys (N, bands) of the pixels with data of each image of this type."""
    for image in images():
        if image.pixels.dtype == kind:
            pixels = (
                image.pixels.reshape(-1, image.pixels.shape[2]) if image.valid is None else image.pixels[image.valid]
            )
            yield keys_of(pixels)


def _place(counts: np.ndarray, rank: float) -> tuple[int, float]:
    """Return where in some counts (LEVELS,) the pixel of a rank is, and its rank there."""
    sums = np.cumsum(counts)
    place = int(np.searchsorted(sums, rank))
    return place, rank - float(sums[place] - counts[place])


def percentiles(images: Images, kind: np.dtype, bands: int, percents: Sequence[float]) -> list[list[float]]:
    """Return for each band the smallest values that at least so many percent of the pixels do not exceed.

    They are exact, and memory stays flat: the upper 16 bits of all keys are counted first, and then the lower 16 bits
    of those among which a percentile lies. So types of 16 bits are read once, others twice.
    """
    shift = 16 if kind.itemsize > 2 else 0
    counts = np.zeros((bands, LEVELS), np.int64)
    for keys in _keys(images, kind):
        for band in range(bands):
            counts[band] += np.bincount(keys[:, band] >> shift, minlength=LEVELS)
    if not (total := int(counts[0].sum())):
        return [[0.0] * len(percents)] * bands
    least = 0 if kind == np.uint16 else 1  # Percentile 0 is 0 for uint16, as ever, and the smallest value of others.
    ranks = [max(percent / 100 * total, least) for percent in percents]
    upper = [[_place(row, rank) for rank in ranks] for row in counts]
    if not shift:
        return [[value_of(key, kind) for key, _ in row] for row in upper]
    lower = np.zeros((bands, len(ranks), LEVELS), np.int64)
    for keys in _keys(images, kind):
        for band, index in np.ndindex(bands, len(ranks)):
            among = keys[keys[:, band] >> shift == upper[band][index][0], band]
            lower[band, index] += np.bincount(among & LEVELS - 1, minlength=LEVELS)
    return [
        [value_of(key << shift | _place(counts, rest)[0], kind) for (key, rest), counts in zip(row, below, strict=True)]
        for row, below in zip(upper, lower, strict=True)
    ]


def limits_of(scale: str, images: Images, kind: np.dtype, bands: int) -> Limits:
    """Return the limits that `normalize.scale` describes.

    Args:
        scale: The text of the setting.
        images: Reads the training images.
        kind: Their type; images of other types are passed over.
        bands: The number of bands.
    """
    name, low, high = scale.split(":")
    if name == "limits":
        return [(float(low), float(high))] * bands
    return [(found[0], found[1]) for found in percentiles(images, kind, bands, (float(low), float(high)))]


def _whole_to_bytes(band: np.ndarray, low: float, high: float) -> np.ndarray:
    values = np.arange(LEVELS)
    return np.clip(np.rint((values - low) * 255 / max(high - low, 1)), 0, 255).astype(np.uint8)[band]


def _to_bytes(band: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint((np.clip(band.astype(np.float64), low, high) - low) * (255 / ((high - low) or 1))).astype(np.uint8)


def to_bytes(pixels: np.ndarray, limits: Limits) -> np.ndarray:
    """Scale an image (H, W, bands) of any type to uint8, clipped at the limits; a band without spread becomes 0."""
    scaled = np.empty(pixels.shape, np.uint8)
    convert = _whole_to_bytes if pixels.dtype == np.uint16 else _to_bytes
    for band, (low, high) in enumerate(limits):
        scaled[:, :, band] = convert(pixels[:, :, band], low, high)
    return scaled


def preview(image: Raster) -> np.ndarray:
    """Return the first three bands of an image as uint8, scaled by percentiles of its own, unless it has 8 bits."""
    if image.pixels.dtype == np.uint8:
        return image.pixels
    shown = replace(image, pixels=image.pixels[:, :, :3])
    limits = limits_of("percentiles:1:99", lambda: [shown], shown.pixels.dtype, shown.pixels.shape[2])
    return to_bytes(shown.pixels, limits)
