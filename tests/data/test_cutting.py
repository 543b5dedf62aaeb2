from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldgap.data.cutting import covered, sums, tiles_at


def by_hand(image: np.ndarray, valid: np.ndarray | None) -> dict[str, object]:
    pixels = image.reshape(-1, image.shape[2]) if valid is None else image[valid]
    pixels = pixels.astype(np.int64)
    return {"n": len(pixels), "sum": pixels.sum(0).tolist(), "squares": (pixels**2).sum(0).tolist()}


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 300), st.integers(1, 300), st.integers(1, 6), st.integers(0, 255))
def test_sums_are_exact(seed: int, height: int, width: int, bands: int, low: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(low, 256, (height, width, bands)).astype(np.uint8)
    assert sums(image, None) == by_hand(image, None)
    valid = rng.random((height, width)) < rng.random()
    assert sums(image, valid) == by_hand(image, valid)


@pytest.mark.parametrize("level", [0, 1, 254, 255])
def test_sums_of_a_large_even_image_are_exact(level: int) -> None:
    image = np.full((8192, 8192, 1), level, np.uint8)
    image[5, 5] = 255 - level
    assert sums(image, None) == by_hand(image, None)


def test_no_valid_pixel_has_sums_of_0() -> None:
    image = np.full((9, 9, 2), 7, np.uint8)
    assert sums(image, np.zeros((9, 9), bool)) == {"n": 0, "sum": [0, 0], "squares": [0, 0]}


def test_tiles_lie_where_their_corners_are_and_the_rest_is_counted() -> None:
    image = np.arange(50 * 70 * 3, dtype=np.uint32).astype(np.uint8).reshape(50, 70, 3)
    corners = [(0, 0), (16, 30), (18, 38)]
    tiles = tiles_at(image, corners, 32)
    assert tiles.flags.c_contiguous
    assert all(np.array_equal(tile, image[y : y + 32, x : x + 32]) for tile, (y, x) in zip(tiles, corners, strict=True))
    assert tiles_at(image, [], 32).shape == (0, 32, 32, 3)
    inside = {(y + i, x + j) for y, x in corners for i in range(32) for j in range(32)}
    assert set(zip(*(axis.tolist() for axis in covered((50, 70), corners, 32).nonzero()), strict=True)) == inside
