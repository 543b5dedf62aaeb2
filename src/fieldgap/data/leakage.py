"""The leakage audit: scenes of two splits that show the same place.

Copies are found by a digest of their pixels, near copies by a perceptual hash of 144 bits. Among 204,480 pairs of
different NAIP tiles of 256 px, the nearest two differed in 42 bits. Changed copies differed in at most 20: after JPEG
at quality 50, brightening by a tenth, halving, noise of 8 grey levels, or a shift of 4 px. Rotated and mirrored copies
are not found.
"""

from __future__ import annotations

import filecmp
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import imagehash
import numpy as np
from PIL import Image

from fieldgap.data.ground import in_system_of
from fieldgap.data.raster import Footprint

HASH_SIDE = 12  # In bits.
THUMBNAIL_SIDE = 4 * HASH_SIDE  # In px.
NEAR = 20  # In bits.
ROUNDING = 1e-6  # Of a footprint's width.
COLUMNS = ("kind", "first", "first_part", "second", "second_part", "distance")
ROWS = 64  # Hashes compared at once, which bounds memory.


@dataclass(frozen=True)
class Fingerprint:
    """What identifies a scene among others.

    Attributes:
        scene: Its name.
        split: Its split, with its fold if it has one.
        path: Its image.
        pixels: Digest of the image's pixels.
        classes: Digest of the mask's classes.
        phash: (3,) uint64, the perceptual hash.
        footprint: None if the image is not georeferenced.
    """

    scene: str
    split: str
    path: Path
    pixels: str
    classes: str
    phash: np.ndarray
    footprint: Footprint | None


@dataclass(frozen=True)
class Match:
    """Two scenes that show the same place, or the same image under two masks.

    Attributes:
        kind: How they match, such as same bytes, near copy or overlap.
        first: One of them.
        second: The other.
        distance: The bits by which near copies differ, or the shorter side of an overlap in map units; otherwise 0.
    """

    kind: str
    first: Fingerprint
    second: Fingerprint
    distance: float

    @property
    def leaks(self) -> bool:
        """Whether the scenes are in different splits."""
        return self.first.split != self.second.split


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return a small grey picture (THUMBNAIL_SIDE, THUMBNAIL_SIDE) of an image (H, W, bands) of uint8.

    Three or more bands are read as red, green, blue; otherwise the first band is the grey.
    """
    grey = (
        cv2.cvtColor(np.ascontiguousarray(image[:, :, :3]), cv2.COLOR_RGB2GRAY)
        if image.shape[2] >= 3
        else image[:, :, 0]
    )
    while min(grey.shape) >= 4 * THUMBNAIL_SIDE:  # Halving is many times faster than one step by an odd factor.
        height, width = grey.shape[0] // 2, grey.shape[1] // 2
        grey = cv2.resize(grey[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    return cv2.resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)


def perceptual_hash(picture: np.ndarray) -> np.ndarray:
    """Return the hash (3,) uint64 of a thumbnail; similar pictures differ in few bits."""
    bits = imagehash.phash(Image.fromarray(picture), hash_size=HASH_SIDE).hash
    return np.frombuffer(np.packbits(bits).tobytes().ljust(24, b"\0"), np.uint64)


def digest(array: np.ndarray) -> str:
    """Return an array's shape, CRC-32 and sum, which take half the time of a cryptographic digest.

    Among many thousand scenes a CRC-32 alone would make some look equal by chance.
    """
    values = np.ascontiguousarray(array)
    return f"{values.shape} {zlib.crc32(values.data)} {cv2.norm(values.reshape(len(values), -1), cv2.NORM_L1):.0f}"


def copies(fingerprints: Sequence[Fingerprint]) -> Iterator[Match]:
    """Yield equal images, in any splits: of equal bytes, of equal pixels, or under different masks.

    Each image is matched with the first one that equals it.
    """
    originals: dict[str, Fingerprint] = {}
    for second in fingerprints:
        first = originals.setdefault(second.pixels, second)
        if first is second:
            continue
        kind = "same bytes" if filecmp.cmp(first.path, second.path, shallow=False) else "same pixels"
        yield Match(kind if first.classes == second.classes else f"{kind}, other mask", first, second, 0)


def near_copies(fingerprints: Sequence[Fingerprint]) -> Iterator[Match]:
    """Yield scenes of different splits whose hashes differ in at most NEAR bits, but whose pixels are not equal."""
    words = np.stack([fingerprint.phash for fingerprint in fingerprints], 1)
    _, splits = np.unique([fingerprint.split for fingerprint in fingerprints], return_inverse=True)
    for start in range(0, len(fingerprints), ROWS):
        rows = np.s_[start : start + ROWS]
        # The first of the three words alone rules out nearly all pairs.
        near = np.bitwise_count(words[0, rows, None] ^ words[0, None, start:]) <= NEAR
        near &= splits[rows, None] != splits[None, start:]
        pairs = start + np.argwhere(near)
        distances = np.bitwise_count(words[:, pairs[:, 0]] ^ words[:, pairs[:, 1]]).sum(0)
        for (i, j), distance in zip(pairs.tolist(), distances.tolist(), strict=True):
            first, second = fingerprints[i], fingerprints[j]
            if i < j and distance <= NEAR and first.pixels != second.pixels:
                yield Match("near copy", first, second, float(distance))


Placed = tuple[Fingerprint, Footprint]


def _in_one_system(fingerprints: Sequence[Fingerprint]) -> list[Placed]:
    placed = [(fingerprint, fingerprint.footprint) for fingerprint in fingerprints if fingerprint.footprint]
    if len({footprint.crs for _, footprint in placed}) < 2:
        return placed
    return [(fingerprint, in_system_of(ground, "EPSG:4326") or ground) for fingerprint, ground in placed]


def overlap(first: Footprint, second: Footprint) -> float:
    """Return the shorter side of what two footprints share.

    Above 0 they overlap, at 0 they touch, below 0 they lie apart. Rounding errors count as 0.
    """
    width = min(first.east, second.east) - max(first.west, second.west)
    height = min(first.north, second.north) - max(first.south, second.south)
    shared = min(width, height)
    return 0.0 if abs(shared) < ROUNDING * (first.east - first.west) else shared


def neighbours(fingerprints: Sequence[Fingerprint]) -> Iterator[Match]:
    """Yield scenes of different splits whose footprints overlap or touch, in degrees if reference systems differ.

    A system that has no relation to others is compared with itself alone.
    Footprints are swept from west to east and compared only with those that begin before they end.
    """
    active: list[Placed] = []
    for second, here in sorted(_in_one_system(fingerprints), key=lambda placed: placed[1].west):
        limit = here.west - ROUNDING * (here.east - here.west)
        active = [(first, there) for first, there in active if there.east >= limit]
        for first, there in active:
            apart = first.split != second.split and there.crs == here.crs
            if apart and (shared := overlap(there, here)) >= 0:
                yield Match("overlap" if shared else "touch", first, second, shared)
        active.append((second, here))


def audit(fingerprints: Sequence[Fingerprint]) -> list[Match]:
    """Return all scenes of different splits that show the same place, and equal images under different masks."""
    equal = [match for match in copies(fingerprints) if match.leaks or match.kind.endswith("other mask")]
    return [*equal, *near_copies(fingerprints), *neighbours(fingerprints)]


def row(match: Match) -> dict[str, object]:
    """Return a match as a row of leakage.csv."""
    first, second = match.first, match.second
    values = (match.kind, first.scene, first.split, second.scene, second.split, match.distance)
    return dict(zip(COLUMNS, values, strict=True))
