"""Where the tiles of a scene lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fieldgap.labels import IGNORE

if TYPE_CHECKING:
    from fieldgap.sections import Normalize


def stride_of(config: Normalize) -> int:
    """-> the px from one tile to the next."""
    return config.tile if config.stride == "tile" else int(config.stride)


def corners(height: int, width: int, config: Normalize) -> Iterator[tuple[int, int]]:
    """-> the upper left corner of each tile, row by row; a rest at the right or lower edge is left out or padded."""
    tile, stride = config.tile, stride_of(config)
    beyond = stride - 1 if config.pad else 0
    for y in range(0, max(height - tile + beyond, 0) + 1, stride):
        for x in range(0, max(width - tile + beyond, 0) + 1, stride):
            yield y, x


def padded(image: np.ndarray, classes: np.ndarray, tile: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """-> both grown to whole tiles at the right and lower edge: the image mirrored, the classes IGNORE."""
    grow = [(0, max(tile - side, -(side - tile) % stride)) for side in classes.shape]
    if not any(after for _, after in grow):
        return image, classes
    return np.pad(image, [*grow, (0, 0)], "symmetric"), np.pad(classes, grow, constant_values=IGNORE)


def laid_out(
    image: np.ndarray, classes: np.ndarray, config: Normalize
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """-> both, padded where that is asked for, and the corners of the tiles that have enough valid pixels."""
    (height, width), tile = classes.shape, config.tile
    if config.pad:
        image, classes = padded(image, classes, tile, stride_of(config))

    def enough(y: int, x: int) -> bool:
        return bool((classes[y : y + tile, x : x + tile] != IGNORE).mean() >= config.min_valid)

    places = [(y, x) for y, x in corners(height, width, config) if not config.min_valid or enough(y, x)]
    return image, classes, places
