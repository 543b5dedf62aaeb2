"""Raw masks to class indices."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fieldgap.errors import InputError

CLASSES = ("background", "farmland")
RAW_FARMLAND = 255


def to_classes(mask: np.ndarray, path: Path) -> np.ndarray:
    """(H, W) uint8 of 0 and 255 -> (H, W) uint8 of 0 and 1. Raises InputError that lists any other value."""
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    if unknown := [int(value) for value in values if value not in (0, RAW_FARMLAND)]:
        raise InputError(f"{path}: holds {unknown[:8]} beside 0 and {RAW_FARMLAND}; map each pixel to one of the two")
    return (mask == RAW_FARMLAND).astype(np.uint8)
