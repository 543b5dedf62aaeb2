"""What is proposed for masks accepts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from conftest import NORMALIZE, data_in
from hypothesis import given
from hypothesis import strategies as st

from fieldgap.data.cutting import covered, kept_corners
from fieldgap.data.masks import classify, make_table, tally, tally_inner
from fieldgap.data.proposals import as_yaml, propose, propose_tiles

HERE = Path("m.png")


def blurred() -> Counter[str]:
    """Return the number of pixels of each value of a disc after JPEG."""
    mask = np.zeros((64, 64), np.uint8)
    cv2.circle(mask, (30, 30), 20, 255, -1)
    values, counts = np.unique(
        cv2.imdecode(cv2.imencode(".jpg", mask, [1, 60])[1], cv2.IMREAD_GRAYSCALE), return_counts=True
    )
    return Counter({str(value): int(count) for value, count in zip(values, counts, strict=True)})


@pytest.mark.parametrize(
    ("masks", "proposal"),
    [
        ([{"0": 9, "1": 5}, {"0": 3}], {"foreground": [1], "background": [0]}),
        ([{"0": 9, "1": 5}, {"0": 3, "255": 1}], {"foreground": [1, 255], "background": [0]}),
        ([{"0": 9, "1": 5, "255": 3}], {"foreground": [1], "background": [0], "ignore": [255]}),
        (
            [{"0": 9, "1": 5, "2": 3}, {"0": 1, "2": 1, "255": 3}],
            {"classes": {"background": [0], "class_1": [1], "class_2": [2]}, "ignore": [255]},
        ),
        ([{"10": 9, "20": 5, "30": 3}], {"classes": {"background": [10], "class_20": [20], "class_30": [30]}}),
        ([blurred()], {"foreground": [255], "background": [0], "tolerance": 127}),
        ([{"0": 90, "255": 90, "254": 3}], {"foreground": [255], "background": [0], "tolerance": 127}),
        (
            [{"0": 9}, {"#00ff00": 5, "#ff0000": 1}],
            {"classes": {"background": ["#000000"], "class_1": ["#00ff00"], "class_2": ["#ff0000"]}},
        ),
        ([{"0": 9, "1": 5}, {"0": 3, "-1": 2}], {"foreground": [1], "background": [0], "ignore": [-1]}),
        (
            [{"-9999": 1, "0": 9, "1": 5, "2": 3, "255": 1}],
            {"classes": {"background": [0], "class_1": [1], "class_2": [2]}, "ignore": [-9999, 255]},
        ),
        ([{"-1": 9, "1": 5}], {"foreground": [1], "background": [-1]}),
        ([{"-2": 9, "-1": 5, "0": 4}], {"classes": {"background": [-2], "class_minus_1": [-1], "class_0": [0]}}),
    ],
)
def test_what_is_proposed_accepts_every_mask(masks: list[dict[str, int]], proposal: dict[str, Any]) -> None:
    assert propose(masks) == proposal
    data = data_in(Path(), **{key: texts(value) for key, value in proposal.items()})
    table = make_table(data.table, data.ignore, data.tolerance)
    for mask in masks:
        for value in mask:
            pixel = [int(value[i : i + 2], 16) for i in (1, 3, 5)] if value[0] == "#" else [int(value)]
            classify(np.array([[pixel]], np.int32 if len(pixel) == 1 else np.uint8), None, table, HERE)


def patches(values: Sequence[Any], side: int = 96) -> np.ndarray:
    """Return a mask of squares of 12 px with these values or colours in turn."""
    at = np.arange(side * side).reshape(side, side)
    return np.array(values)[(at // side // 12 * (side // 12) + at % side // 12) % len(values)].astype(np.uint8)


def through_jpeg(mask: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", mask, [1, 80])[1], cv2.IMREAD_UNCHANGED)


def proposed(mask: np.ndarray) -> dict[str, object]:
    pixels = mask if mask.ndim == 3 else mask[:, :, None]
    return propose([tally(pixels)], [tally_inner(pixels)])


SIX = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]
SLOPE = np.clip(np.arange(-480, 720, 6), 0, 255).astype(np.uint8)[None].repeat(100, 0)  # Two areas, and a ramp between.
RESIZED = cv2.resize(patches([0, 80, 160, 240]), (250, 250), interpolation=cv2.INTER_CUBIC)


def test_forty_crop_codes_are_forty_classes() -> None:
    classes = proposed(patches(range(40)))["classes"]
    assert isinstance(classes, dict)
    assert list(classes.values()) == [[value] for value in range(40)]
    assert "tolerance" not in proposed(patches(range(40)))


def test_blurred_edges_of_two_values_are_tolerated() -> None:
    disc = cv2.circle(np.zeros((256, 256), np.uint8), (120, 130), 80, 255, -1)
    wanted = {"foreground": [255], "background": [0], "tolerance": 127}
    assert proposed(through_jpeg(disc)) == wanted
    assert proposed(cv2.resize(disc, (400, 400), interpolation=cv2.INTER_LINEAR)) == wanted


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (through_jpeg(patches(SIX)), "values of which .* fill areas; the masks .* saved as JPEG"),
        (RESIZED, r"values of which 4 values \(.*\) fill areas; the masks .* were resized"),
        (np.arange(256, dtype=np.uint8)[None].repeat(64, 0), "256 values of which no values fill areas"),
        (np.zeros((64, 64), np.uint8), "all masks have the value 0 alone"),
        (SLOPE, "17% of the pixels lie between 0 and 255, too many for edges"),
        (
            np.kron(np.arange(300).reshape(15, 20), np.ones((6, 6))).astype(np.uint16),
            "300 values, more than 254 classes",
        ),
    ],
)
def test_what_is_not_understood_is_said(mask: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        proposed(mask)


def test_without_a_look_at_areas_many_values_are_not_taken_for_classes() -> None:
    with pytest.raises(ValueError, match="fill areas"):
        propose([{str(value): 1 for value in range(0, 60_000, 300)}])
    with pytest.raises(ValueError, match="the value 0 alone"):
        propose([{"0": 9}])


def test_inner_pixels_have_four_equal_neighbours() -> None:
    mask = np.zeros((6, 7), np.uint8)
    mask[1:4, 1:4] = 5
    assert tally_inner(mask[:, :, None]) == {"0": 4 + 1, "5": 1}, "of zeros, column 5 and one beside it"


def texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: texts(entry) for name, entry in value.items()}
    return tuple(map(str, value)) if isinstance(value, list) else value


def test_proposals_are_yaml() -> None:
    """They are printed as lines of params.yaml, names of folders among them."""
    value = {"background": [0, "#00ff00"], "names": ["a: b", "Äcker"], "pad": True}
    assert as_yaml(value) == '{background: [0, "#00ff00"], names: ["a: b", "Äcker"], pad: true}'
    assert yaml.safe_load(as_yaml(value)) == value


@pytest.mark.parametrize(
    ("side", "values"),
    [
        (64, {"tile": 64}),
        (256, {"tile": 128}),
        (512, {"tile": 256}),
        (250, {"tile": 128, "pad": True}),
        (224, {"tile": 224}),
        (300, {"tile": 160, "pad": True}),
        (1000, {"tile": 256, "pad": True}),
        (5000, {"tile": 128}),
        (20, {"tile": 32, "pad": True}),
    ],
)
def test_tiles_of_a_usual_size_are_proposed_that_use_nearly_all(side: int, values: dict[str, object]) -> None:
    assert propose_tiles({(side, side): 12}) == values


@given(st.lists(st.tuples(st.integers(16, 3000), st.integers(16, 3000)), min_size=1, max_size=4))
def test_whatever_the_sizes_the_proposed_tiles_use_98_percent(shapes: list[tuple[int, int]]) -> None:
    """Counted by the stage's own cut."""
    proposed = propose_tiles(Counter(shapes))
    config = replace(NORMALIZE, **{"pad": False, **proposed})  # type: ignore[arg-type]
    used = 0
    for height, width in shapes:
        if config.pad:
            used += height * width
        else:
            corners = kept_corners(np.zeros((height, width), np.uint8), config)
            used += int(covered((height, width), corners, config.tile).sum())
    assert used >= 0.98 * sum(height * width for height, width in shapes)
