"""The leakage audit: which scenes it matches, across which splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fieldgap.data.leakage import (
    COLUMNS,
    NEAR,
    Fingerprint,
    audit,
    copies,
    digest,
    near_copies,
    neighbours,
    overlap,
    perceptual_hash,
    row,
    thumbnail,
)
from fieldgap.data.raster import Footprint


def mark(scene: str, split: str = "train", **values: Any) -> Fingerprint:
    """Return the fingerprint of a scene that resembles no other one, except in `values`."""
    rng = np.random.default_rng(abs(hash(scene)) % 2**32)
    unique = {
        "pixels": rng.bytes(8).hex(),
        "classes": rng.bytes(8).hex(),
        "phash": rng.integers(0, 2**63, 3, np.uint64),
    }
    return Fingerprint(scene=scene, split=split, **{"path": Path(scene), **unique, "footprint": None, **values})


def matches(*fingerprints: Fingerprint) -> list[tuple[str, str, str]]:
    return [(match.kind, match.first.scene, match.second.scene) for match in audit(fingerprints)]


def test_scenes_that_differ_are_not_matched() -> None:
    assert matches(*(mark(f"s{i}", ("train", "val", "test")[i % 3]) for i in range(200))) == []


def files(folder: Path, *contents: bytes) -> list[Path]:
    for i, content in enumerate(contents):
        (folder / str(i)).write_bytes(content)
    return [folder / str(i) for i in range(len(contents))]


def test_copies_are_found_by_bytes_and_by_pixels_only_across_splits(tmp_path: Path) -> None:
    same = {"pixels": "p", "classes": "c", "phash": np.zeros(3, np.uint64)}
    one, copy, other = files(tmp_path, b"1", b"1", b"2")
    a, b, c = mark("a", path=one, **same), mark("b", "test", path=copy, **same), mark("c", "val", path=other, **same)
    assert matches(a, b, c) == [("same bytes", "a", "b"), ("same pixels", "a", "c")]
    assert matches(mark("a", path=one, **same), mark("b", path=copy, **same)) == []


def test_one_image_under_two_masks_is_named_within_a_split_too(tmp_path: Path) -> None:
    one, copy = files(tmp_path, b"1", b"1")
    same = {"pixels": "p", "phash": np.zeros(3, np.uint64)}
    a, b = mark("a", path=one, **same, classes="1"), mark("b", path=copy, **same, classes="2")
    (match,) = copies([a, b])
    assert matches(a, b) == [("same bytes, other mask", "a", "b")]
    assert not match.leaks


def test_digests_tell_shapes_apart() -> None:
    even = np.zeros((4, 6), np.uint8)
    assert digest(even) == digest(even.copy(order="F"))
    assert digest(even) != digest(even.T)
    assert digest(even) != digest(even + 1)


def photo(seed: int) -> np.ndarray:
    """Return (256, 256, 3) of smooth blobs with grain, which JPEG changes little."""
    rng = np.random.default_rng(seed)
    blobs = cv2.resize(rng.integers(0, 255, (12, 12, 3), np.uint8), (256, 256), interpolation=cv2.INTER_CUBIC)
    return np.clip(blobs + rng.normal(0, 6, blobs.shape), 0, 255).astype(np.uint8)


def bits(first: np.ndarray, second: np.ndarray) -> int:
    return int(np.bitwise_count(perceptual_hash(thumbnail(first)) ^ perceptual_hash(thumbnail(second))).sum())


@pytest.mark.parametrize(
    "change",
    [
        lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR),
        lambda image: cv2.convertScaleAbs(image, alpha=0.9, beta=5),
        lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        lambda image: np.ascontiguousarray(image[:, 4:]),
    ],
    ids=["jpeg", "brightness", "size", "shift"],
)
def test_a_changed_copy_looks_alike_and_another_scene_does_not(change: Any) -> None:
    for seed in range(8):
        assert bits(photo(seed), change(photo(seed))) <= NEAR
        assert bits(photo(seed), change(photo(seed + 100))) > 2 * NEAR


def test_near_copies_are_named_with_their_distance() -> None:
    a, b = mark("a", phash=np.zeros(3, np.uint64)), mark("b", "val", phash=np.array([7, 0, 1], np.uint64))
    many = [mark(f"s{i}") for i in range(100)]
    (match,) = audit([*many, a, b])
    assert row(match) == dict(zip(COLUMNS, ("near copy", "a", "train", "b", "val", 4.0), strict=True))


def test_every_near_copy_is_found_and_no_other() -> None:
    """Many hashes are near each other, and their bits differ in each of the three words."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2, 192)
    hashes = [np.packbits(base ^ (rng.random(192) < rng.random() / 6)).view(np.uint64) for _ in range(200)]
    fingerprints = [mark(f"s{i}", ("train", "val")[i % 2], phash=value) for i, value in enumerate(hashes)]
    by_hand = {
        (f"s{i}", f"s{j}", float(bits))
        for j in range(200)
        for i in range(j)
        if (i - j) % 2 and (bits := int(np.bitwise_count(hashes[i] ^ hashes[j]).sum())) <= NEAR
    }
    assert 100 < len(by_hand) < 9900
    assert {(p.first.scene, p.second.scene, p.distance) for p in near_copies(fingerprints)} == by_hand


def at(west: float, south: float, crs: str = "EPSG:32615", side: float = 100) -> Footprint:
    return Footprint(crs, west, south, west + side, south + side)


@pytest.mark.parametrize(
    ("west", "south", "shared"),
    [(100, 0, 0), (100, 100, 0), (99, 50, 1), (101, 0, -1), (0, -150, -50), (100 + 1e-7, 0, 0), (20, 30, 70)],
)
def test_overlap_is_the_shorter_side_of_the_shared_ground(west: float, south: float, shared: float) -> None:
    assert overlap(at(0, 0), at(west, south)) == pytest.approx(shared)
    assert overlap(at(west, south), at(0, 0)) == overlap(at(0, 0), at(west, south))


def test_footprints_that_overlap_or_touch_across_splits() -> None:
    fingerprints = [
        mark("a", footprint=at(0, 0)),
        mark("b", "val", footprint=at(100, 0)),
        mark("c", "test", footprint=at(190, 50)),
        mark("d", footprint=at(50, 0)),
        mark("e", "test", footprint=at(1000, 0)),
        mark("f", "test"),
    ]
    found = {(match.kind, match.first.scene, match.second.scene, match.distance) for match in neighbours(fingerprints)}
    assert found == {("touch", "a", "b", 0), ("overlap", "d", "b", 50), ("overlap", "b", "c", 10)}


def test_footprints_of_two_reference_systems_are_compared() -> None:
    """The same square kilometre in zones 15 and 16 of UTM, on the meridian between them, and one elsewhere."""
    first = mark("a", footprint=at(755_000, 4_400_000, side=1000))
    second = mark("b", "test", footprint=at(240_700, 4_400_100, "EPSG:32616", side=1000))
    elsewhere = mark("c", "test", footprint=at(755_000, 4_400_000, "EPSG:32616", side=1000))
    assert [(p.kind, p.first.scene, p.second.scene) for p in neighbours([first, second, elsewhere])] == [
        ("overlap", "a", "b")
    ]


def test_a_local_system_that_has_no_place_on_earth_is_compared_with_itself() -> None:
    local = 'LOCAL_CS["site",UNIT["metre",1]]'
    fingerprints = [
        mark("a", footprint=at(0, 0, local)),
        mark("b", "val", footprint=at(50, 0, local)),
        mark("c", "test", footprint=at(0, 0)),
        mark("d", "test", footprint=at(60, 0, "EPSG:32616")),
    ]
    assert [(p.kind, p.first.scene, p.second.scene) for p in neighbours(fingerprints)] == [("overlap", "a", "b")]


def test_every_neighbour_is_found_however_many_scenes_there_are() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 3000, (150, 2))
    fingerprints = [mark(f"s{i}", ("train", "test")[i % 2], footprint=at(*place)) for i, place in enumerate(places)]
    by_hand = {
        (i, j) for i in range(150) for j in range(i) if (i - j) % 2 and np.abs(places[i] - places[j]).max() <= 100
    }
    pairs = [
        tuple(sorted((int(p.first.scene[1:]), int(p.second.scene[1:])), reverse=True)) for p in neighbours(fingerprints)
    ]
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == by_hand
