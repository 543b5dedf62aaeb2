"""Percentiles are those of all values sorted, whatever their type, and scaling is what its formula says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ELSEWHERE, NORMALIZE, ROOT, data_in
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fieldgap.base.errors import InputError
from fieldgap.base.files import write_rows
from fieldgap.base.labels import IGNORE
from fieldgap.data import normalize
from fieldgap.data.raster import Raster
from fieldgap.data.scaling import LEVELS, keys_of, limits_of, percentiles, preview, to_bytes, value_of
from fieldgap.settings.params import check as check_params
from fieldgap.settings.params import load

TYPES = [np.dtype(name) for name in ("uint16", "int16", "int32", "uint32", "float32")]


def drawn(kind: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    generator = np.random.default_rng(0)
    if kind.kind == "f":
        return (generator.standard_normal(shape) * 10.0 ** generator.integers(-9, 9, shape)).astype(kind)
    limits = np.iinfo(kind)
    return generator.integers(limits.min, limits.max, shape, kind, endpoint=True)


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_percentiles_are_exact(kind: np.dtype) -> None:
    first, second = (
        drawn(kind, (40, 50, 2)),
        drawn(kind, (30, 20, 2))[::-1] // 2 if kind.kind != "f" else drawn(kind, (30, 20, 2)),
    )
    second = second.astype(kind)
    valid = np.arange(600).reshape(30, 20) % 3 > 0
    values = np.concatenate([first.reshape(-1, 2), second[valid]])
    percents = (1.0, 37.5, 50.0, 99.0, 100.0)

    def images() -> Iterator[Raster]:
        yield Raster(first, None, None)
        yield Raster(first.astype(np.uint8 if kind != np.uint8 else np.uint16), None, None)
        yield Raster(second, valid, None)

    expected = np.percentile(values, percents, axis=0, method="inverted_cdf").T
    assert np.array_equal(percentiles(images, kind, 2, percents), expected)


@given(arrays(np.float32, 20, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_keys_keep_the_order_and_the_values(values: np.ndarray) -> None:
    keys = keys_of(values)
    ordered = values[np.argsort(keys, kind="stable")]
    assert (np.diff(ordered) >= 0).all()
    assert [value_of(int(key), values.dtype) for key in keys] == values.tolist()


def test_the_lowest_percentile_is_the_smallest_value_and_no_pixel_gives_0() -> None:
    image = Raster(np.array([[[-2.5], [7]]], np.float32), None, None)
    assert percentiles(lambda: [image], image.pixels.dtype, 1, (0.0, 100.0)) == [[-2.5, 7.0]]
    empty = replace(image, valid=np.zeros((1, 2), bool))
    assert percentiles(lambda: [empty], image.pixels.dtype, 1, (0.0, 100.0)) == [[0.0, 0.0]]


def test_limits_are_read_from_the_setting() -> None:
    assert limits_of("limits:-0.25:1.5", lambda: [], np.dtype("float32"), 2) == [(-0.25, 1.5)] * 2


@pytest.mark.parametrize("kind", ["int16", "int32", "uint32", "float32", "float64"])
def test_values_are_scaled_and_clipped(kind: str) -> None:
    low, high = (0, 40) if kind == "uint32" else (-10, 30)
    values = np.arange(low - 5 if low < 0 else 0, high + 6).astype(kind)
    expected = np.clip(np.rint((values.astype(float) - low) * 255 / (high - low)), 0, 255)
    assert np.array_equal(to_bytes(values.reshape(1, -1, 1), [(low, high)]).ravel(), expected)
    assert not to_bytes(values.reshape(1, -1, 1), [(7, 7)]).any(), "a band without spread becomes 0"


@pytest.mark.parametrize("kind", ["uint16", "float32", "float64", "int32"])
def test_a_preview_shows_an_image_by_its_own_values(kind: str) -> None:
    ramp = np.arange(201) * (0.25 if "f" in kind else 3)
    image = Raster(np.dstack([ramp[None].repeat(9, 0), np.zeros((9, 201))]).astype(kind), None, None)
    shown = preview(image)
    assert shown[0, [0, 2, 3, 100, 197, 198, 200], 0].tolist() == [0, 0, 1, 128, 254, 255, 255]
    assert not shown[:, :, 1].any()
    eight = np.arange(30, dtype=np.uint8).reshape(2, 5, 3)
    assert preview(Raster(eight, None, None)) is eight


def test_extremes_do_not_overflow() -> None:
    values = np.array([np.finfo(np.float64).min, 0, np.finfo(np.float64).max]).reshape(1, 3, 1)
    limits = percentiles(lambda: [Raster(values, None, None)], values.dtype, 1, (0.0, 100.0))
    assert to_bytes(values, [(limits[0][0], limits[0][1])]).ravel().tolist() == [0, 128, 255]


def test_sixteen_bits_keep_their_formula() -> None:
    values = np.arange(LEVELS, dtype=np.uint16).reshape(256, 256, 1)
    expected = np.clip(np.rint((values.astype(np.int64) - 300.0) * 255 / (9000.0 - 300.0)), 0, 255)
    assert np.array_equal(to_bytes(values, [(300.0, 9000.0)]), expected)


@pytest.mark.parametrize(
    ("scale", "accepted"),
    [
        ("limits:-0.5:1.25", True),
        ("limits:-9999:70000", True),
        ("percentiles:0.5:99.5", True),
        ("limits:2:1", False),
        ("limits:-1:-1", False),
        ("percentiles:-1:99", False),
        ("percentiles:1:101", False),
        ("limits:-:1", False),
        ("limits:1e3:1e4", False),
        (f"limits:0:{'9' * 400}", False),
    ],
)
def test_which_scales_the_settings_accept(scale: str, accepted: bool) -> None:
    params = load(ROOT / "params.yaml")
    params["normalize"] |= {"scale": scale}
    if accepted:
        assert check_params(params).normalize.scale == scale
    else:
        with pytest.raises(InputError, match=r"normalize\.scale"):
            check_params(params)


def scenes(folder: Path, kinds: dict[str, str]) -> np.ndarray:
    """Write scenes of reflectances, with a border that is NaN, as .npy files; return those of the first one."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    rows = []
    for index, (name, kind) in enumerate(kinds.items()):
        values = np.random.default_rng(index).normal(0.2, 0.1, (64, 64, 3)).astype(kind)
        if "f" in kind:
            values[:, :9] = np.nan
        np.save(folder / f"images/{name}.npy", values)
        np.save(folder / f"masks/{name}.npy", np.full((64, 64), 255, np.int64))
        rows.append({"scene": name, "group": name, "split": "train" if index < 2 else "val", "fold": ""})
    write_rows(folder / "split.csv", rows)
    return np.load(folder / "images/a.npy")


def cut(folder: Path, **config: Any) -> None:
    data = data_in(folder, mask_pattern="{stem}.npy")
    normalize.run(data, folder / "split.csv", ELSEWHERE, folder / "tiles", replace(NORMALIZE, tile=64, **config))


@pytest.mark.parametrize("kind", ["f4", "f8", "f2"])
def test_reflectances_go_through_the_pipeline(kind: str, tmp_path: Path) -> None:
    first = scenes(tmp_path, dict.fromkeys("abc", kind)).astype(np.float64)
    cut(tmp_path, scale="limits:-0.1:0.6")
    images, masks = (np.load(tmp_path / f"tiles/{name}.npy") for name in ("images", "masks"))
    expected = np.clip(np.rint((first + 0.1) * (255 / (0.6 + 0.1))), 0, 255)
    assert np.array_equal(images[0][:, 9:], expected[:, 9:])
    assert (masks[:, :, :9] == IGNORE).all()
    assert (masks[:, :, 9:] == 1).all()


def test_percentiles_leave_out_what_has_no_data_and_what_is_not_trained_on(tmp_path: Path) -> None:
    scenes(tmp_path, dict.fromkeys("abc", "f4"))
    cut(tmp_path, scale="percentiles:2:98")
    training = np.concatenate([np.load(tmp_path / f"images/{name}.npy")[:, 9:].reshape(-1, 3) for name in "ab"])
    low, high = np.percentile(training.astype(np.float64), [2, 98], axis=0, method="inverted_cdf")
    last = np.load(tmp_path / "images/c.npy")[:, 9:].astype(np.float64)
    expected = np.rint((np.clip(last, low, high) - low) * (255 / (high - low)))
    assert np.array_equal(np.load(tmp_path / "tiles/images.npy")[2][:, 9:], expected)


def test_types_are_not_mixed(tmp_path: Path) -> None:
    scenes(tmp_path, {"a": "f4", "b": "i2", "c": "f4"})
    with pytest.raises(InputError, match=r"b\.npy: has int16 pixels, but the first training scene float32; convert"):
        cut(tmp_path)
