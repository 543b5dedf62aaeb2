"""Raw masks to classes: listed values, values near a listed one, and ignored ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import data_in

from fieldgap.base.errors import InputError
from fieldgap.base.labels import IGNORE
from fieldgap.data.masks import (
    Classified,
    classify,
    codes_of,
    count_bytes,
    count_codes,
    look_up,
    make_table,
    tally,
    value_text,
    values_of,
)

HERE = Path("m.png")
TWO = {"background": ("0",), "farmland": ("255",)}


def classified(mask: Any, classes: Any = None, ignore: tuple[str, ...] = (), tolerance: int = 0) -> Classified:
    pixels = np.array(mask, np.uint16)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return classify(pixels, None, make_table(classes or TWO, ignore, tolerance), HERE)


def test_listed_values_become_their_classes_and_others_are_refused() -> None:
    assert classified([[0, 255]]).classes.tolist() == [[0, 1]]
    assert classified([[0, 255]], {"background": ("255",), "farmland": ("0",)}).classes.tolist() == [[1, 0]]
    many = {"background": ("0", "9"), "wheat": ("1",), "maize": ("2", "300")}
    assert classified([[0, 1, 2, 9, 300, 7]], many, ignore=("7",)).classes.tolist() == [[0, 1, 2, 0, 2, IGNORE]]
    with pytest.raises(
        InputError, match=r"m\.png: contains 1, 128, which data\.foreground, background, ignore and classes"
    ):
        classified([[0, 255, 128, 1]])


def test_values_are_counted_and_those_near_a_listed_one_too() -> None:
    mask = classified([[0, 3, 127, 128, 250, 255]], tolerance=127)
    assert mask.classes.tolist() == [[0, 0, 0, 1, 1, 1]]
    assert mask.snapped == 4
    assert mask.counts == Counter({str(value): 1 for value in (0, 3, 127, 128, 250, 255)})
    with pytest.raises(InputError, match="contains 9"):
        classified([[0, 8, 9, 255]], tolerance=8)


def test_colours() -> None:
    table = {"background": ("#000000",), "farmland": ("#00ff00", "#ffff00")}
    mask = [[[0, 0, 0], [0, 255, 0], [255, 255, 0]]]
    assert classified(mask, table).classes.tolist() == [[0, 1, 1]]
    with pytest.raises(InputError, match="contains #0aff00"):
        classified([[[10, 255, 0]]], table)
    assert classified([[[10, 250, 0]]], table, tolerance=10).classes.tolist() == [[1]]
    assert classified([[0]], table).classes.tolist() == [[0]], "a grey file has three equal channels"
    with pytest.raises(InputError, match=r"m\.png: has colours"):
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
    distinct, counts = count_codes(codes)
    index = look_up(codes, distinct, np.arange(len(distinct), dtype=np.uint8))
    assert np.array_equal(values_of(distinct, channels)[index], pixels)
    assert counts.tolist() == np.bincount(index.ravel()).tolist()
    assert sum(tally(pixels).values()) == 63


@pytest.mark.parametrize("side", [100, 4100])
def test_bytes_are_counted_exactly(side: int) -> None:
    """Above 2^24 equal bytes, a count in float32 would stand still."""
    array = np.full((side, side), 7, np.uint8)
    array[3, :5] = 255
    counts = count_bytes(array)
    assert (counts[7], counts[255], counts.sum()) == (side**2 - 5, 5, side**2)


def test_values_are_written_as_in_params_yaml() -> None:
    assert (value_text(np.array([7])), value_text(np.array([255, 0, 16]))) == ("7", "#ff0010")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"foreground": ("255", "0")}, "the mask value 0 is listed twice"),
        ({"ignore": ("255",)}, "the mask value 255 is listed twice"),
        (
            {"foreground": ("white",)},
            "'white' is not a mask value; write a number from -32768 to 65535, or a colour as '#ff0000'",
        ),
        ({"foreground": ("#ffffff",)}, "mask values mix numbers and colours"),
        ({"classes": {"background": ("0",)}}, "1 classes; name 2 to 254"),
        ({"classes": {"background": ("0",), "a b": ("1",)}}, r"data\.classes\.a b: a class name may only have letters"),
        ({"classes": {"background": ("0",), "wheat": ()}}, r"data\.classes\.wheat: no value"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        data_in(Path(), **changes)
