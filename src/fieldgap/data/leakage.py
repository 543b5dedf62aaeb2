"""The leakage audit: scenes of two splits that show the same place.

Copies are told by the pixels' own digest, near copies by a perceptual hash of 144 bits. Among 204,480 pairs of
different NAIP tiles of 256 px, the nearest differed in 42 bits. Their copies differed in at most 20: after JPEG at
quality 50, brightening by a tenth, halving, noise of 8 grey levels, or a shift of 4 px. Turned or mirrored copies are
not found.
"""

from __future__ import annotations

import filecmp
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import imagehash
import numpy as np
from PIL import Image

from fieldgap.data.images import Footprint

SIDE = 12  # Of the hash, in bits.
FINE = 4 * SIDE  # The px of the picture that it is taken from.
NEAR = 20
COLUMNS = ("kind", "first", "first_part", "second", "second_part", "distance")
ROWS = 64  # Hashes compared at once, which bounds memory.


@dataclass(frozen=True)
class Print:
    """What tells a scene from others: digests of its pixels and classes, its look (3,) uint64, its file and place."""

    scene: str
    part: str
    path: Path
    pixels: str
    classes: str
    look: np.ndarray
    footprint: Footprint | None


@dataclass(frozen=True)
class Pair:
    """Two scenes that show the same: how they are known to, and by how much they differ, in bits or map units."""

    kind: str
    first: Print
    second: Print
    distance: float

    @property
    def leaks(self) -> bool:
        return self.first.part != self.second.part


def shrunk(image: np.ndarray) -> np.ndarray:
    """(H, W, bands) uint8 -> (FINE, FINE) uint8, its first three bands in grey, or the first."""
    grey = (
        cv2.cvtColor(np.ascontiguousarray(image[:, :, :3]), cv2.COLOR_RGB2GRAY)
        if image.shape[2] >= 3
        else image[:, :, 0]
    )
    while min(grey.shape) >= 4 * FINE:  # Halving is many times faster than shrinking by an odd factor at once.
        height, width = grey.shape[0] // 2, grey.shape[1] // 2
        grey = cv2.resize(grey[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    return cv2.resize(grey, (FINE, FINE), interpolation=cv2.INTER_AREA)


def look(small: np.ndarray) -> np.ndarray:
    """(FINE, FINE) uint8 of shrunk() -> (3,) uint64, its perceptual hash."""
    bits = imagehash.phash(Image.fromarray(small), hash_size=SIDE).hash
    return np.frombuffer(np.packbits(bits).tobytes().ljust(24, b"\0"), np.uint64)


def digest(array: np.ndarray) -> str:
    """-> a digest of an array's values, 64 hexadecimal digits."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def alike(prints: Sequence[Print], of: str) -> Iterator[tuple[Print, Print]]:
    """Yields each print with the first one of equal `of`."""
    first: dict[str, Print] = {}
    for each in prints:
        earlier = first.setdefault(getattr(each, of), each)
        if earlier is not each:
            yield earlier, each


def copies(prints: Sequence[Print]) -> Iterator[Pair]:
    """Yields pairs of equal images, in any split: of equal bytes, of equal pixels, or under different masks."""
    for first, second in alike(prints, "pixels"):
        kind = "same bytes" if filecmp.cmp(first.path, second.path, shallow=False) else "same pixels"
        yield Pair(kind if first.classes == second.classes else f"{kind}, other mask", first, second, 0)


def near_copies(prints: Sequence[Print]) -> Iterator[Pair]:
    """Yields pairs from different parts whose looks differ in at most NEAR bits, though their pixels differ."""
    words = np.stack([each.look for each in prints], 1)
    _, parts = np.unique([each.part for each in prints], return_inverse=True)
    for start in range(0, len(prints), ROWS):
        rows = np.s_[start : start + ROWS]
        # The first of the three words alone rules out nearly all pairs.
        near = np.bitwise_count(words[0, rows, None] ^ words[0, None, start:]) <= NEAR
        near &= parts[rows, None] != parts[None, start:]
        pairs = start + np.argwhere(near)
        distances = np.bitwise_count(words[:, pairs[:, 0]] ^ words[:, pairs[:, 1]]).sum(0)
        for (i, j), distance in zip(pairs.tolist(), distances.tolist(), strict=True):
            if i < j and distance <= NEAR and prints[i].pixels != prints[j].pixels:
                yield Pair("near copy", prints[i], prints[j], float(distance))


def in_one_system(prints: Sequence[Print]) -> list[tuple[Print, Footprint]]:
    """-> the georeferenced prints with their footprints, in degrees where they come in several reference systems."""
    placed = [(each, each.footprint) for each in prints if each.footprint]
    if len({footprint.crs for _, footprint in placed}) < 2:
        return placed
    from rasterio.warp import transform_bounds

    degrees = "EPSG:4326"
    return [
        (each, Footprint(degrees, *transform_bounds(at.crs, degrees, at.west, at.south, at.east, at.north)))
        for each, at in placed
    ]


def overlap(first: Footprint, second: Footprint) -> float:
    """-> the shorter side of what two footprints share: above 0 they overlap, at 0 they touch, below 0 lie apart.

    A millionth of a footprint's width is rounding and counts as 0.
    """
    width = min(first.east, second.east) - max(first.west, second.west)
    height = min(first.north, second.north) - max(first.south, second.south)
    shared = min(width, height)
    return 0.0 if abs(shared) < 1e-6 * (first.east - first.west) else shared


def neighbours(prints: Sequence[Print]) -> Iterator[Pair]:
    """Yields pairs from different parts that overlap or touch.

    Sorted from west to east, so that each footprint is held against those alone that begin before it ends.
    """
    active: list[tuple[Print, Footprint]] = []
    for second, here in sorted(in_one_system(prints), key=lambda placed: placed[1].west):
        active = [(first, there) for first, there in active if there.east >= here.west - 1e-6 * (here.east - here.west)]
        for first, there in active:
            if first.part != second.part and (shared := overlap(there, here)) >= 0:
                yield Pair("overlap" if shared else "touch", first, second, shared)
        active.append((second, here))


def audit(prints: Sequence[Print]) -> list[Pair]:
    """-> all pairs that show the same place in two parts, and equal images under different masks in any."""
    found = [pair for pair in copies(prints) if pair.leaks or pair.kind.endswith("other mask")]
    return [*found, *near_copies(prints), *neighbours(prints)]


def row(pair: Pair) -> dict[str, object]:
    """-> a pair as a row of leakage.csv; the distance is in bits for near copies, in map units for footprints."""
    first, second = pair.first, pair.second
    return dict(
        zip(COLUMNS, (pair.kind, first.scene, first.part, second.scene, second.part, pair.distance), strict=True)
    )
