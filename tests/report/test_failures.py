from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
import pytest
from made import made, save_run, save_tiles

from fieldgap.analysis.runs import Finished
from fieldgap.base.errors import InputError
from fieldgap.base.labels import IGNORE
from fieldgap.report.failures import (
    INVENTED,
    MISSED,
    HeldOut,
    by_variant,
    counted,
    disagreement,
    disputed,
    majority,
    overlay,
    read_tested,
    voters,
    worst_and_median,
)
from fieldgap.report.pictures import CLASS_COLOURS, LARGEST, UNKNOWN, painted, seen, strip


def wrong_in(tile: np.ndarray, pixels: int) -> np.ndarray:
    """-> a mask with its first `pixels` turned into the other class."""
    flat = tile.ravel().copy()
    flat[:pixels] = 1 - flat[:pixels]
    return flat.reshape(tile.shape)


MASKS = np.random.default_rng(0).integers(0, 2, (5, 8, 8)).astype(np.uint8)


def test_worst_and_median_tile_are_by_the_mean_share_of_wrong_pixels_over_seeds() -> None:
    """Wrong pixels of two seeds: tiles 5+5, 0+30, 9+0, 1+1, 8+8; sorted by sum: 3, 2, 0, 4, 1, so 0 is the median."""
    counts = np.array([[5, 0, 9, 1, 8], [5, 30, 0, 1, 8]])
    predicted = np.array([[wrong_in(tile, n) for tile, n in zip(MASKS, row, strict=True)] for row in counts])
    assert worst_and_median(counted(predicted, 2), MASKS) == (1, 0)


def test_unknown_pixels_are_not_wrong() -> None:
    masks = MASKS.copy()
    masks[1] = IGNORE
    predicted = np.array([[wrong_in(tile, n) for tile, n in zip(MASKS, (1, 64, 2, 3, 4), strict=True)]])
    assert worst_and_median(counted(predicted, 2), masks)[0] == 4


def test_the_majority_of_seeds_wins_and_of_equals_the_first_class() -> None:
    predicted = np.array([[0, 1, 2, 2], [0, 1, 1, 2], [1, 0, 1, 0], [1, 1, 2, 0]])
    assert majority(counted(predicted, 3)).tolist() == [0, 1, 1, 0]


def test_errors_are_painted_by_kind_and_by_how_many_seeds_make_them() -> None:
    mask = np.array([[1, 0, 1, IGNORE]], np.uint8)
    predicted = np.array([[[0, 1, 1, 0]], [[0, 1, 0, 1]]], np.uint8)
    image = np.zeros((1, 4, 3), np.uint8)
    painted_errors = overlay(image, mask, counted(predicted, 2))[0].tolist()
    assert painted_errors[0] == list(MISSED)
    assert painted_errors[1] == list(INVENTED)
    assert painted_errors[2] == np.rint((150 + np.array(MISSED)) / 2).astype(int).tolist()
    assert painted_errors[3] == [150, 150, 150]


def test_classes_have_colours_and_unknown_pixels_one_of_their_own() -> None:
    found = painted(np.array([[0, 1, IGNORE, len(CLASS_COLOURS)]], np.uint8))[0].tolist()
    assert found == [list(CLASS_COLOURS[0]), list(CLASS_COLOURS[1]), list(UNKNOWN), list(CLASS_COLOURS[0])]


@pytest.mark.parametrize(("bands", "shown"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (3, [0, 1, 2]), (5, [0, 1, 2])])
def test_any_number_of_bands_can_be_seen(bands: int, shown: list[int]) -> None:
    image = np.arange(bands, dtype=np.uint8).reshape(1, 1, bands)
    assert seen(image)[0, 0].tolist() == shown


def test_a_strip_is_a_small_webp_of_its_pictures_side_by_side() -> None:
    red = np.full((2 * LARGEST, LARGEST, 3), [200, 0, 0], np.uint8)
    uri = strip([red, red])
    head, data = uri.split(",")
    assert head == "data:image/webp;base64"
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert picture.shape == (LARGEST, LARGEST + 4, 3)
    assert np.abs(picture[LARGEST // 2, 10].astype(int) - [200, 0, 0]).max() < 12
    assert uri == strip([red, red])


def test_variants_disagree_on_the_mean_share_over_pairs_of_their_runs() -> None:
    """Of 64 pixels a and b differ on 8, and from c on 16 and 24: the seeds of first on 8, first and second on 20."""
    a = MASKS[:1]
    b = np.stack([wrong_in(a[0], 8)])
    c = np.stack([np.roll(wrong_in(np.roll(a[0].ravel(), 16), 16), -16).reshape(8, 8)])
    shares = disagreement({"first": counted(np.stack([a, b]), 2), "second": counted(c[None], 2)}).set_index(
        ["one", "other"]
    )["share"]
    assert shares["first", "first"] == 8 / 64
    assert shares["first", "second"] == shares["second", "first"] == 20 / 64
    assert np.isnan(shares["second", "second"])


def test_the_most_disputed_tile_is_that_with_most_dissent() -> None:
    other = MASKS.copy()
    other[3] = 1 - other[3]
    tested = HeldOut(np.zeros((*MASKS.shape, 3), np.uint8), MASKS, [f"tile {i}" for i in range(5)])
    found = disputed({"first": counted(MASKS[None], 2), "second": counted(other[None], 2)}, tested)
    assert found is not None
    assert found.says == "tile 3, variants differ on 100.0% of its pixels"
    assert disputed({"first": counted(MASKS[None], 2)}, tested) is None


def saved(folder: Path) -> list[Finished]:
    """-> four runs of two variants on disk."""
    save_tiles(folder / "tiles", ["north", "south"])
    runs = []
    for init in ("kaiming_normal", "orthogonal"):
        for seed in (0, 1):
            run = made({"init": init, "seed": seed})
            save_run(folder, run, folder / "tiles")
            runs.append(Finished(**{**run.__dict__, "folder": folder / run.name}))
    return runs


def test_predictions_are_read_by_variant_without_diverged_runs_and_runs_of_other_tiles(tmp_path: Path) -> None:
    runs = saved(tmp_path)
    runs[0] = Finished(**{**runs[0].__dict__, "status": "diverged"})
    with np.load(runs[3].folder / "predictions.npz") as file:
        np.savez_compressed(runs[3].folder / "predictions.npz", tiles=file["tiles"][::-1], classes=file["classes"])
    chosen, found = by_variant(runs, 2)
    assert {variant: voters(each) for variant, each in found.items()} == {
        "init kaiming_normal": 1,
        "init orthogonal": 1,
    }
    tested = read_tested(tmp_path / "tiles", chosen)
    assert tested.names == ["north at 0, 0", "south at 0, 0"]
    assert tested.masks.shape == found["init orthogonal"].shape[1:]


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"])
def test_broken_predictions_are_named(tmp_path: Path, content: bytes) -> None:
    runs = saved(tmp_path)
    (runs[1].folder / "predictions.npz").write_bytes(content)
    with pytest.raises(
        InputError, match=r"kaiming_normal-1/predictions\.npz: cannot be read .* evaluate this run again"
    ):
        by_variant(runs, 2)
