"""Image and mask files to arrays."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from fieldgap.errors import InputError


def read(path: Path, flag: int) -> np.ndarray:
    """-> the decoded file. Raises InputError when it is missing or no image."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    pixels = cv2.imdecode(data, flag) if data.size else None
    if pixels is None:
        raise InputError(f"{path}: is no readable image; replace or remove it")
    return pixels


def read_image(path: Path) -> np.ndarray:
    """-> (H, W, 3) uint8 in the order red, green, blue; cv2 decodes to blue, green, red."""
    return np.ascontiguousarray(read(path, cv2.IMREAD_COLOR)[:, :, ::-1])


def read_mask(path: Path) -> np.ndarray:
    """-> (H, W) as stored. Raises InputError unless it has one channel of 8 bits."""
    mask = read(path, cv2.IMREAD_UNCHANGED)
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise InputError(
            f"{path}: is {mask.dtype} with shape {mask.shape}; a mask has one channel of 8 bits, so convert it"
        )
    return mask
