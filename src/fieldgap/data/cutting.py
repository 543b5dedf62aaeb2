"""A scene cut into tiles, and what the tables say about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fieldgap.base.labels import IGNORE
from fieldgap.data.leakage import digest, thumbnail
from fieldgap.data.masks import count_bytes
from fieldgap.data.raster import Footprint
from fieldgap.data.scaling import Limits, to_bytes

if TYPE_CHECKING:
    from fieldgap.data.reading import Scene
    from fieldgap.settings.sections import Normalize

Corner = tuple[int, int]


@dataclass(frozen=True)
class Record:
    """What is kept of a scene once its tiles are written.

    Attributes:
        corners: (y, x) of each tile's upper left corner.
        summary: Its entry in mask_report.json.
        pixels: Digest of the image.
        classes: Digest of the classes.
        thumbnail: The picture that its perceptual hash is taken from.
        footprint: None if the image is not georeferenced.
    """

    corners: Sequence[Corner]
    summary: dict[str, Any]
    pixels: str
    classes: str
    thumbnail: np.ndarray
    footprint: Footprint | None


@dataclass(frozen=True)
class Cut:
    """A scene's tiles, images (N, tile, tile, bands) and masks (N, tile, tile) of uint8, and its record."""

    images: np.ndarray
    masks: np.ndarray
    record: Record

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of pixels of each raw value of the mask."""
        return self.record.summary["values"]


def stride_of(config: Normalize) -> int:
    """Return the number of pixels from one tile to the next."""
    return config.tile if config.stride == "tile" else int(config.stride)


def corners_of(shape: Sequence[int], config: Normalize) -> Iterator[Corner]:
    """Yield the upper left corners of all tiles of a scene of this (height, width), row by row."""
    (height, width), tile, stride = shape, config.tile, stride_of(config)
    beyond = stride - 1 if config.pad else 0
    for y in range(0, max(height - tile + beyond, 0) + 1, stride):
        for x in range(0, max(width - tile + beyond, 0) + 1, stride):
            yield y, x


def pad(image: np.ndarray, classes: np.ndarray, tile: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Grow a scene to whole tiles at its right and lower edge: mirror the image (H, W, bands), ignore the classes."""
    grow = [(0, max(tile - side, -(side - tile) % stride)) for side in classes.shape]
    if not any(after for _, after in grow):
        return image, classes
    return np.pad(image, [*grow, (0, 0)], "symmetric"), np.pad(classes, grow, constant_values=IGNORE)


def kept_corners(classes: np.ndarray, config: Normalize) -> list[Corner]:
    """Return the corners of the tiles with enough pixels of a class, row by row."""
    tile, corners = config.tile, list(corners_of(classes.shape, config))
    if not config.min_valid:
        return corners
    return [(y, x) for y, x in corners if (classes[y : y + tile, x : x + tile] != IGNORE).mean() >= config.min_valid]


def tiles_at(array: np.ndarray, corners: Sequence[Corner], tile: int) -> np.ndarray:
    """Return the tiles (N, tile, tile, ...) of an array (H, W, ...), contiguous; a single whole tile is not copied."""
    if array.shape[:2] == (tile, tile) and len(corners) == 1:
        return np.ascontiguousarray(array)[None]
    tiles = np.empty((len(corners), tile, tile, *array.shape[2:]), array.dtype)
    for index, (y, x) in enumerate(corners):
        tiles[index] = array[y : y + tile, x : x + tile]
    return tiles


def covered(shape: Sequence[int], corners: Sequence[Corner], tile: int) -> np.ndarray:
    """Return which pixels of a scene of this (height, width) lie in a tile, (H, W) bool."""
    inside = np.zeros(shape, bool)
    for y, x in corners:
        inside[y : y + tile, x : x + tile] = True
    return inside


def sums(image: np.ndarray, valid: np.ndarray | None) -> dict[str, Any]:
    """Return the number of valid pixels, and each band's exact sum and sum of squares over them.

    OpenCV divides its whole sums at the end; in double precision the division can be undone exactly.

    Args:
        image: (H, W, bands) uint8.
        valid: (H, W) bool, or None if all pixels are valid.
    """
    chosen = None if valid is None else valid.view(np.uint8)
    count = image[:, :, 0].size if chosen is None else cv2.countNonZero(chosen)
    mean, deviation = cv2.meanStdDev(image, mask=chosen)
    total, squares = (np.rint(moment * count).astype(np.int64) for moment in (mean, mean**2 + deviation**2))
    return {"n": count, "sum": total.ravel().tolist(), "squares": squares.ravel().tolist()}


def _by_class(classes: np.ndarray, names: Sequence[str]) -> dict[str, int]:
    pixels = count_bytes(classes)
    return {**dict(zip(names, pixels.tolist(), strict=False)), "ignore": int(pixels[IGNORE])}


def _summary(scene: Scene, image: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    height, width = scene.classes.shape
    return {
        "height": height,
        "width": width,
        "pixels": _by_class(scene.classes, class_names),
        "values": dict(scene.counts.most_common()),
        "pixels_snapped": scene.mask.snapped,
        "bytes": sums(image, scene.image.valid),
    }


def cut(scene: Scene, limits: Limits | None, class_names: Sequence[str], config: Normalize) -> Cut:
    """Return a scene's tiles, scaled to bytes by `limits` if it has 16 bits, padded, and with enough valid pixels."""
    image, classes = scene.image.pixels, scene.classes
    if limits:
        image = to_bytes(image, limits)
    summary, picture = _summary(scene, image, class_names), thumbnail(image)
    if config.pad:
        image, classes = pad(image, classes, config.tile, stride_of(config))
    corners = kept_corners(classes, config)
    summary["tiles"] = len(corners)
    inside = covered(scene.classes.shape, corners, config.tile)
    summary["pixels_left_out"] = inside.size - cv2.countNonZero(inside.view(np.uint8))
    summary["used"] = _by_class(scene.classes[inside], class_names) if summary["pixels_left_out"] else summary["pixels"]
    record = Record(corners, summary, digest(scene.image.pixels), digest(scene.classes), picture, scene.image.footprint)
    return Cut(tiles_at(image, corners, config.tile), tiles_at(classes, corners, config.tile), record)
