"""16-bit bands to 8 bits, by fixed limits or by percentiles of the training scenes, the same for all tiles."""

from __future__ import annotations

import numpy as np

LEVELS = 65536
Limits = list[tuple[float, float]]  # For each band, the values that become 0 and 255.


class Histogram:
    """Counts of each 16-bit value in each band, over any number of images."""

    def __init__(self, bands: int) -> None:
        self.counts = np.zeros((bands, LEVELS), np.int64)

    def add(self, pixels: np.ndarray, valid: np.ndarray | None) -> None:
        """Count an image (H, W, bands) of uint16, where `valid` (H, W) is True or None."""
        chosen = pixels.reshape(-1, len(self.counts)) if valid is None else pixels[valid]
        for band in range(len(self.counts)):
            self.counts[band] += np.bincount(chosen[:, band], minlength=LEVELS)

    def percentile(self, percent: float) -> list[float]:
        """Return for each band the smallest value that at least `percent` percent of the pixels do not exceed."""
        below = np.cumsum(self.counts, 1)
        return [float(np.searchsorted(row, percent / 100 * row[-1])) for row in below]


def limits_of(scale: str, histogram: Histogram) -> Limits:
    """Return the limits that `normalize.scale` describes."""
    kind, low, high = scale.split(":")
    if kind == "limits":
        return [(float(low), float(high))] * len(histogram.counts)
    return list(zip(histogram.percentile(float(low)), histogram.percentile(float(high)), strict=True))


def to_bytes(pixels: np.ndarray, limits: Limits) -> np.ndarray:
    """Scale an image (H, W, bands) of uint16 to uint8, clipped at the limits; a band without spread becomes 0."""
    values = np.arange(LEVELS)
    scaled = np.empty(pixels.shape, np.uint8)
    for band, (low, high) in enumerate(limits):
        table = np.clip(np.rint((values - low) * 255 / max(high - low, 1)), 0, 255).astype(np.uint8)
        scaled[:, :, band] = table[pixels[:, :, band]]
    return scaled
