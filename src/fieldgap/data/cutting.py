"""A scene to its tiles, and to all that the tables tell of it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fieldgap.base.labels import IGNORE
from fieldgap.data import leakage
from fieldgap.data.masks import tally_bytes
from fieldgap.data.scaling import to_bytes

if TYPE_CHECKING:
    from fieldgap.data.reading import Scene
    from fieldgap.settings.sections import Normalize

Limits = list[tuple[float, float]]


@dataclass(frozen=True)
class Cut:
    """A scene ready to pack: its tiles' images (N, H, W, bands) and classes (N, H, W), uint8, and what is known of it.

    All of `known` goes into JSON and comes back the same: the tiles' corners, what mask_report.json tells, checksums of
    the pixels, the classes and the tiles, the footprint. `small` is what the look is to be taken from, or None where it
    is known.
    """

    images: np.ndarray
    classes: np.ndarray
    known: dict[str, Any]
    small: np.ndarray | None = None

    @property
    def values(self) -> Mapping[str, int]:
        return self.known["told"]["values"]


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


def sums(image: np.ndarray, valid: np.ndarray | None) -> dict[str, Any]:
    """(H, W, bands) uint8 -> the number of pixels with data, and each band's exact sum and sum of squares over them.

    OpenCV adds up whole numbers and then divides; in double precision that is undone without a rest.
    """
    chosen = None if valid is None else valid.view(np.uint8)
    count = image[:, :, 0].size if chosen is None else cv2.countNonZero(chosen)
    mean, deviation = cv2.meanStdDev(image, mask=chosen)
    total, squares = (np.rint(each * count).astype(np.int64) for each in (mean, mean**2 + deviation**2))
    return {"n": count, "sum": total.ravel().tolist(), "squares": squares.ravel().tolist()}


def told_of(scene: Scene, image: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """-> what mask_report.json tells of a scene, whose image (H, W, bands) is scaled to bytes."""
    height, width = scene.classes.shape
    pixels = tally_bytes(scene.classes)
    return {
        "height": height,
        "width": width,
        "pixels": {**dict(zip(names, pixels.tolist(), strict=False)), "ignore": int(pixels[IGNORE])},
        "values": dict(scene.values.most_common()),
        "pixels_snapped": scene.mask.snapped,
        "bytes": sums(image, scene.image.valid),
    }


def kept(classes: np.ndarray, config: Normalize) -> list[tuple[int, int]]:
    """-> the corners of the tiles with enough valid pixels."""
    tile, places = config.tile, list(corners(classes.shape[0], classes.shape[1], config))
    if not config.min_valid:
        return places
    return [(y, x) for y, x in places if (classes[y : y + tile, x : x + tile] != IGNORE).mean() >= config.min_valid]


def tiles_of(array: np.ndarray, places: Sequence[tuple[int, int]], tile: int) -> np.ndarray:
    """(H, W, ...) -> (N, tile, tile, ...), in one piece of memory; without a copy where the array is its one tile."""
    if array.shape[:2] == (tile, tile) and len(places) == 1:
        return np.ascontiguousarray(array)[None]
    tiles = np.empty((len(places), tile, tile, *array.shape[2:]), array.dtype)
    for each, (y, x) in zip(tiles, places, strict=True):
        each[...] = array[y : y + tile, x : x + tile]
    return tiles


def left_out(height: int, width: int, places: Sequence[tuple[int, int]], tile: int) -> int:
    """-> the pixels of a scene that lie in no tile."""
    outside = np.ones((height, width), np.uint8)
    for y, x in places:
        outside[y : y + tile, x : x + tile] = 0
    return cv2.countNonZero(outside)


def checksum(array: np.ndarray) -> int:
    """-> the CRC-32 of an array's values: half the time of a cryptographic digest, and nobody forges scenes here."""
    return zlib.crc32(np.ascontiguousarray(array).data)


def cut(scene: Scene, between: Limits | None, names: Sequence[str], config: Normalize) -> Cut:
    """-> a scene scaled, padded and cut into the tiles that have enough valid pixels."""
    image, classes = to_bytes(scene.image.pixels, between) if between else scene.image.pixels, scene.classes
    told, small = told_of(scene, image, names), leakage.shrunk(image)
    known = {
        "pixels": checksum(scene.image.pixels),
        "classes": checksum(classes),
        "footprint": scene.image.footprint and asdict(scene.image.footprint),
    }
    if config.pad:
        image, classes = padded(image, classes, config.tile, stride_of(config))
    places = kept(classes, config)
    told |= {
        "tiles": len(places),
        "pixels_left_out": left_out(told["height"], told["width"], places, config.tile),
    }
    images, masks = (tiles_of(array, places, config.tile) for array in (image, classes))
    # A scene that is its one tile need not be gone through a second time.
    same = np.may_share_memory(images, scene.image.pixels) and np.may_share_memory(masks, scene.classes)
    check = [known["pixels"], known["classes"]] if same else [checksum(images), checksum(masks)]
    return Cut(images, masks, {**known, "told": told, "corners": places, "check": check}, small)
