from __future__ import annotations

import base64
import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from made import made_run, save_run, save_tiles

from fieldgap.analysis.runs import EvaluatedRun
from fieldgap.base.errors import InputError
from fieldgap.base.labels import IGNORE
from fieldgap.report.failures import (
    FALSE_ALARM,
    MISSED,
    HeldOutTiles,
    disputed_picture,
    held_out,
    overlay,
    worst_and_median,
)
from fieldgap.report.pictures import CLASS_COLOURS, LARGEST, UNKNOWN, painted, strip, visible
from fieldgap.report.votes import count_votes, disagreement, majority, voters, votes_by_variant
from fieldgap.tiles.packed import read_packed


def wrong_in(tile: np.ndarray, pixels: int) -> np.ndarray:
    """Return a mask with its first `pixels` turned into the other class."""
    flat = tile.ravel().copy()
    flat[:pixels] = 1 - flat[:pixels]
    return flat.reshape(tile.shape)


MASKS = np.random.default_rng(0).integers(0, 2, (5, 8, 8)).astype(np.uint8)


def test_tiles_are_ranked_by_the_share_of_wrong_pixels_averaged_over_seeds() -> None:
    """Two seeds get 5+5, 0+30, 9+0, 1+1 and 8+8 pixels wrong: sorted by sum, tiles 3, 2, 0, 4, 1."""
    counts = np.array([[5, 0, 9, 1, 8], [5, 30, 0, 1, 8]])
    predicted = np.array([[wrong_in(tile, n) for tile, n in zip(MASKS, row, strict=True)] for row in counts])
    assert worst_and_median(count_votes(predicted, 2), MASKS) == (1, 0)


def test_unknown_pixels_are_not_wrong() -> None:
    masks = MASKS.copy()
    masks[1] = IGNORE
    predicted = np.array([[wrong_in(tile, n) for tile, n in zip(MASKS, (1, 64, 2, 3, 4), strict=True)]])
    assert worst_and_median(count_votes(predicted, 2), masks)[0] == 4


def test_the_majority_of_seeds_wins_and_ties_go_to_the_first_class() -> None:
    predicted = np.array([[0, 1, 2, 2], [0, 1, 1, 2], [1, 0, 1, 0], [1, 1, 2, 0]])
    assert majority(count_votes(predicted, 3)).tolist() == [0, 1, 1, 0]


def test_errors_are_coloured_by_kind_and_by_the_share_of_seeds_that_make_them() -> None:
    mask = np.array([[1, 0, 1, IGNORE]], np.uint8)
    predicted = np.array([[[0, 1, 1, 0]], [[0, 1, 0, 1]]], np.uint8)
    image = np.zeros((1, 4, 3), np.uint8)
    painted_errors = overlay(image, mask, count_votes(predicted, 2))[0].tolist()
    assert painted_errors[0] == list(MISSED)
    assert painted_errors[1] == list(FALSE_ALARM)
    assert painted_errors[2] == np.rint((150 + np.array(MISSED)) / 2).astype(int).tolist()
    assert painted_errors[3] == [150, 150, 150]


def test_classes_have_colours_and_unknown_pixels_have_their_own() -> None:
    colours = painted(np.array([[0, 1, IGNORE, len(CLASS_COLOURS)]], np.uint8))[0].tolist()
    assert colours == [list(CLASS_COLOURS[0]), list(CLASS_COLOURS[1]), list(UNKNOWN), list(CLASS_COLOURS[0])]


@pytest.mark.parametrize(("bands", "shown"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (3, [0, 1, 2]), (5, [0, 1, 2])])
def test_any_number_of_bands_can_be_shown(bands: int, shown: list[int]) -> None:
    image = np.arange(bands, dtype=np.uint8).reshape(1, 1, bands)
    assert visible(image)[0, 0].tolist() == shown


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
    """Of 64 pixels a and b differ on 8, and they differ from c on 16 and 24, which is 20 on average."""
    a = MASKS[:1]
    b = np.stack([wrong_in(a[0], 8)])
    c = np.stack([np.roll(wrong_in(np.roll(a[0].ravel(), 16), 16), -16).reshape(8, 8)])
    shares = disagreement({"first": count_votes(np.stack([a, b]), 2), "second": count_votes(c[None], 2)}).set_index(
        ["one", "other"]
    )["share"]
    assert shares["first", "first"] == 8 / 64
    assert shares["first", "second"] == shares["second", "first"] == 20 / 64
    assert np.isnan(shares["second", "second"])


def test_the_most_disputed_tile_is_the_one_with_the_most_dissent() -> None:
    other = MASKS.copy()
    other[3] = 1 - other[3]
    tested = HeldOutTiles(np.zeros((*MASKS.shape, 3), np.uint8), MASKS, [f"tile {i}" for i in range(5)])
    picture = disputed_picture({"first": count_votes(MASKS[None], 2), "second": count_votes(other[None], 2)}, tested)
    assert picture is not None
    assert picture.caption == "tile 3, variants differ on 100.0% of its pixels"
    assert disputed_picture({"first": count_votes(MASKS[None], 2)}, tested) is None


def saved(folder: Path) -> list[EvaluatedRun]:
    """Write four runs of two variants and return them."""
    save_tiles(folder / "tiles", ["north", "south"])
    runs = []
    for init in ("kaiming_normal", "orthogonal"):
        for seed in (0, 1):
            run = made_run({"init": init, "seed": seed})
            save_run(folder, run, folder / "tiles")
            runs.append(dataclasses.replace(run, folder=folder / run.name))
    return runs


def test_votes_leave_out_diverged_runs_and_runs_that_were_tested_on_other_tiles(tmp_path: Path) -> None:
    runs = saved(tmp_path)
    runs[0] = dataclasses.replace(runs[0], status="diverged")
    with np.load(runs[3].folder / "predictions.npz") as file:
        np.savez_compressed(runs[3].folder / "predictions.npz", tiles=file["tiles"][::-1], classes=file["classes"])
    chosen, by_variant = votes_by_variant(runs, 2)
    assert {variant: voters(votes) for variant, votes in by_variant.items()} == {
        "init kaiming_normal": 1,
        "init orthogonal": 1,
    }
    tested = held_out(read_packed(tmp_path / "tiles"), chosen)
    assert tested.names == ["north at 0, 0", "south at 0, 0"]
    assert tested.masks.shape == by_variant["init orthogonal"].shape[1:]


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"])
def test_broken_predictions_are_reported_with_their_path(tmp_path: Path, content: bytes) -> None:
    runs = saved(tmp_path)
    (runs[1].folder / "predictions.npz").write_bytes(content)
    with pytest.raises(
        InputError, match=r"kaiming_normal-1/predictions\.npz: cannot be read .* evaluate this run again"
    ):
        votes_by_variant(runs, 2)


def test_predictions_of_tiles_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    save_tiles(tmp_path / "tiles", ["north", "south"])
    packed = read_packed(tmp_path / "tiles")
    assert held_out(packed, np.array([1])).names == ["south at 0, 0"]
    with pytest.raises(InputError, match=r"predictions\.npz: is of a tile 2, which the tiles lack; evaluate all runs"):
        held_out(packed, np.array([1, 2]))
