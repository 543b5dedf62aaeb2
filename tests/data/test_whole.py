"""Masks of any number type hold labels if their numbers are whole and can be listed; what has no value is ignored."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from fieldgap.base.errors import InputError
from fieldgap.base.labels import IGNORE
from fieldgap.data.masks import classify, make_table, tally
from fieldgap.data.raster import Raster
from fieldgap.data.whole import as_labels
from fieldgap.engines.commandline import arguments, parse
from fieldgap.engines.stages import COMMANDS
from fieldgap.settings.params import flags, load

HERE = Path("m.tif")
CLASSES = {"background": ("0",), "wheat": ("1", "40000")}


def labels(values: Any, kind: str, valid: Any = None) -> Raster:
    return as_labels(
        Raster(np.array(values, kind)[None, :, None], None if valid is None else np.array([valid]), None), HERE
    )


def classes(raster: Raster, ignore: tuple[str, ...] = (), tolerance: int = 0) -> list[int]:
    table = make_table(CLASSES, ignore, tolerance)
    return classify(raster.pixels, raster.valid, table, HERE).classes[0].tolist()


@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"])
def test_whole_numbers_of_any_type_are_labels(kind: str) -> None:
    assert classes(labels([0, 1, 1, 0], kind)) == [0, 1, 1, 0]
    if np.dtype(kind).itemsize > 2:
        assert classes(labels([0, 40000, 1], kind)) == [0, 1, 1]


@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "i8", "f2", "f4", "f8"])
def test_a_mark_below_0_is_listed_like_any_value(kind: str) -> None:
    raster = labels([0, -1, 1], kind)
    assert tally(raster.pixels) == {"0": 1, "-1": 1, "1": 1}
    assert classes(raster, ignore=("-1",)) == [0, IGNORE, 1]
    with pytest.raises(InputError, match=r"m\.tif: contains -1, which data\.foreground, background, ignore"):
        classes(raster)
    with pytest.raises(InputError, match="contains -1"):
        classes(raster, tolerance=127)


def test_nan_is_no_data_and_counts_as_no_value() -> None:
    raster = labels([0, np.nan, 1, np.nan], "f4")
    assert classes(raster) == [0, IGNORE, 1, IGNORE]
    assert tally(raster.pixels) == {"0": 1, "1": 1}
    assert classes(labels([np.nan, np.nan], "f8")) == [IGNORE, IGNORE]
    assert classes(labels([np.nan, 1], "f8"), tolerance=127) == [IGNORE, 1]


@pytest.mark.parametrize(
    ("value", "kind"), [(-9999, "i2"), (-(2**31), "i4"), (-3.4e38, "f4"), (0.5, "f8"), (2**40, "i8")]
)
def test_declared_no_data_is_ignored_if_no_label_is_like_it(value: float, kind: str) -> None:
    assert classes(labels([0, value, 1], kind, [True, False, True])) == [0, IGNORE, 1]
    assert classes(labels([0, value, 1], kind, [True, False, True]), tolerance=127) == [0, IGNORE, 1]


def test_declared_no_data_that_is_listed_keeps_its_class() -> None:
    assert classes(labels([0, 1, -1], "i2", [False, True, False]), ignore=("-1",)) == [0, 1, IGNORE]
    table = make_table({"background": ("-1",), "wheat": ("1",)}, (), 0)
    raster = labels([-1, 1], "i2", [False, True])
    assert classify(raster.pixels, raster.valid, table, HERE).classes.tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("value", "kind", "named"),
    [
        (0.5, "f4", "0.5"),
        (65536, "i4", "65536"),
        (-40000, "i4", "-40000"),
        (np.inf, "f4", "inf"),
        (2**40, "i8", "1099511627776"),
        (2**63, "u8", "9223372036854775808"),
    ],
)
def test_other_numbers_are_named(value: float, kind: str, named: str) -> None:
    with pytest.raises(
        InputError, match=rf"^m\.tif: contains {named}; labels are whole numbers from -32768 to 65535, so"
    ):
        labels([0, value, 1], kind)


def test_grey_masks_are_understood_beside_colours() -> None:
    table = make_table({"background": ("#000000",), "wheat": ("#070707",)}, (), 0)
    mask = classify(np.array([[[0], [7]]], np.uint16), None, table, HERE)
    assert mask.classes.tolist() == [[0, 1]]
    assert mask.counts == {"#000000": 1, "#070707": 1}
    with pytest.raises(InputError, match="contains 300, which"):
        classify(np.array([[[0], [300]]], np.uint16), None, table, HERE)


def test_a_mark_below_0_passes_through_the_command_line() -> None:
    params = load(ROOT / "params.yaml")
    data = params["data"] | {"ignore": [-1, -9999], "foreground": [], "classes": {"a": [-2], "b": [0]}}
    words = shlex.split(f"--out x {flags(data)} {flags(params['split'])}")
    found = arguments(COMMANDS["split"], parse(["split", *words]))["data"]
    assert found.ignore == ("-1", "-9999")
    assert found.classes == {"a": ("-2",), "b": ("0",)}
