"""Raw masks to classes: what is listed, what is near, what is ignored, and what is proposed for the rest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import data_in

from fieldgap.base.errors import InputError
from fieldgap.base.labels import IGNORE
from fieldgap.data.masks import (
    Classified,
    classify,
    codes_of,
    levels,
    looked_up,
    make_table,
    propose,
    spelt,
    tally,
    values_of,
)

HERE = Path("m.png")
TWO = {"background": ("0",), "farmland": ("255",)}


def classified(mask: Any, classes: Any = None, ignore: tuple[str, ...] = (), tolerance: int = 0) -> Classified:
    pixels = np.array(mask, np.uint16)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return classify(pixels, None, make_table(classes or TWO, ignore, tolerance), HERE)


def test_listed_values_become_their_classes_and_others_are_named() -> None:
    assert classified([[0, 255]]).classes.tolist() == [[0, 1]]
    assert classified([[0, 255]], {"background": ("255",), "farmland": ("0",)}).classes.tolist() == [[1, 0]]
    many = {"background": ("0", "9"), "wheat": ("1",), "maize": ("2", "300")}
    assert classified([[0, 1, 2, 9, 300, 7]], many, ignore=("7",)).classes.tolist() == [[0, 1, 2, 0, 2, IGNORE]]
    with pytest.raises(
        InputError, match=r"m\.png: holds 1, 128, which data\.foreground, background, ignore or classes"
    ):
        classified([[0, 255, 128, 1]])


def test_values_are_counted_and_those_near_a_listed_one_too() -> None:
    found = classified([[0, 3, 127, 128, 250, 255]], tolerance=127)
    assert found.classes.tolist() == [[0, 0, 0, 1, 1, 1]]
    assert found.snapped == 4
    assert found.values == Counter({str(value): 1 for value in (0, 3, 127, 128, 250, 255)})
    with pytest.raises(InputError, match="holds 9"):
        classified([[0, 8, 9, 255]], tolerance=8)


def test_colours() -> None:
    table = {"background": ("#000000",), "farmland": ("#00ff00", "#ffff00")}
    mask = [[[0, 0, 0], [0, 255, 0], [255, 255, 0]]]
    assert classified(mask, table).classes.tolist() == [[0, 1, 1]]
    with pytest.raises(InputError, match="holds #0aff00"):
        classified([[[10, 255, 0]]], table)
    assert classified([[[10, 250, 0]]], table, tolerance=10).classes.tolist() == [[1]]
    assert classified([[0]], table).classes.tolist() == [[0]], "a grey file is one of equal channels"
    with pytest.raises(InputError, match=r"m\.png: is in colour"):
        classified(mask)


def test_no_data_is_ignored_unless_its_value_is_listed() -> None:
    pixels = np.array([[[0], [255], [9]]], np.uint8)
    valid = np.array([[False, True, False]])
    table = make_table(TWO, (), tolerance=20)
    assert classify(pixels, valid, table, HERE).classes.tolist() == [[0, 1, IGNORE]]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_codes_stand_for_the_values_of_the_mask(channels: int, kind: type) -> None:
    pixels = np.random.default_rng(0).integers(0, 4, (9, 7, channels)).astype(kind)
    codes = codes_of(pixels)
    found, counts = levels(codes)
    index = looked_up(codes, found, np.arange(len(found), dtype=np.uint8))
    assert np.array_equal(values_of(found, channels)[index], pixels)
    assert counts.tolist() == np.bincount(index.ravel()).tolist()
    assert sum(tally(pixels).values()) == 63


def blurred() -> Counter[str]:
    """The values of a drawn mask after JPEG."""
    mask = np.zeros((64, 64), np.uint8)
    cv2.circle(mask, (30, 30), 20, 255, -1)
    found, counts = np.unique(
        cv2.imdecode(cv2.imencode(".jpg", mask, [1, 60])[1], cv2.IMREAD_GRAYSCALE), return_counts=True
    )
    return Counter({str(value): int(count) for value, count in zip(found, counts, strict=True)})


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
        ([{"0": 9}], None),
        ([{str(value): 1 for value in range(0, 60_000, 300)}], None),
    ],
)
def test_what_is_proposed_accepts_every_mask(masks: list[dict[str, int]], proposal: dict[str, Any] | None) -> None:
    assert propose(masks) == proposal
    if proposal is None:
        return
    data = data_in(Path(), **{key: texts(value) for key, value in proposal.items()})
    table = make_table(data.table, data.ignore, data.tolerance)
    for mask in masks:
        for value in mask:
            pixel = [int(value[i : i + 2], 16) for i in (1, 3, 5)] if value[0] == "#" else [int(value)]
            classify(np.array([[pixel]], np.uint16), None, table, HERE)


def texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: texts(each) for name, each in value.items()}
    return tuple(map(str, value)) if isinstance(value, list) else value


def test_values_are_spelt_as_params_yaml_spells_them() -> None:
    assert (spelt(np.array([7])), spelt(np.array([255, 0, 16]))) == ("7", "#ff0010")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"foreground": ("255", "0")}, "the mask value 0 is listed twice"),
        ({"ignore": ("255",)}, "the mask value 255 is listed twice"),
        ({"foreground": ("white",)}, "'white' is no mask value; write a number up to 65535, or a colour as '#ff0000'"),
        ({"foreground": ("#ffffff",)}, "numbers and colours are mixed"),
        ({"classes": {"background": ("0",)}}, "1 classes; name 2 to 254"),
        ({"classes": {"background": ("0",), "a b": ("1",)}}, r"data\.classes\.a b: a class name has letters"),
        ({"classes": {"background": ("0",), "wheat": ()}}, r"data\.classes\.wheat: no value"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        data_in(Path(), **changes)
