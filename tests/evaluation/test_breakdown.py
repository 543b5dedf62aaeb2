from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from scipy import ndimage

from fieldgap.base.labels import IGNORE
from fieldgap.evaluation.breakdown import (
    BINS,
    Breakdown,
    band,
    border_counts,
    border_iou,
    by_scene,
    calibration_counts,
    calibration_error,
)
from fieldgap.network.build import build
from fieldgap.network.measure import measure
from fieldgap.parts.losses import cross_entropy
from fieldgap.tiles.packed import load

CPU = torch.device("cpu")


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_band_is_what_an_erosion_removes_except_along_the_edge_of_the_tile(width: int) -> None:
    members = torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(0)) > 0.2
    members[0, :12] = True
    bands = band(members, torch.ones_like(members), width)
    square = np.ones((2 * width + 1, 2 * width + 1))
    for tile, here in zip(members.numpy(), bands.numpy(), strict=True):
        assert (here == (tile & ~ndimage.binary_erosion(tile, square, border_value=1))).all()


def test_an_edge_to_unknown_pixels_is_no_border() -> None:
    truth = torch.zeros(1, 10, 10, dtype=torch.int64)
    truth[:, :, 5:] = IGNORE
    counts = border_counts(truth, torch.zeros_like(truth), 2)
    assert counts.tolist() == [[0, 0], [0, 0]]
    assert border_iou(counts) == 1


def test_boundary_iou_of_a_shifted_edge_by_hand() -> None:
    """Tiles of 64 px have bands of round(0.02 * 90.5) = 2 px.

    The truth is columns 0 to 31, the prediction 0 to 32. Their bands are columns 30, 31 and 31, 32, so 1 of 3 columns
    is in both.
    """
    truth, predicted = (torch.zeros(1, 64, 64, dtype=torch.int64) for _ in range(2))
    truth[..., :32], predicted[..., :33] = 1, 1
    counts = border_counts(truth, predicted, 2)
    assert counts[1].tolist() == [64, 3 * 64]
    assert border_iou(counts) == pytest.approx(1 / 3)


def test_calibration_error_by_hand() -> None:
    """4 pixels with confidence 0.6, half of them right, and 4 with 0.9, all of them right: (0.1 + 0.1) / 2."""
    confidence = torch.tensor([0.6] * 4 + [0.9] * 4, dtype=torch.float64)
    right = torch.tensor([1, 1, 0, 0, 1, 1, 1, 1]).bool()
    counts = calibration_counts(confidence, right)
    assert counts.shape == (BINS, 3)
    assert counts[9].tolist() == pytest.approx([4, 2.4, 2])
    assert calibration_error(counts) == pytest.approx(0.1)
    assert calibration_counts(torch.ones(2), torch.ones(2).bool())[BINS - 1].tolist() == [2, 2, 2]


def test_predictions_without_a_probability_have_no_confidence(tiles: Path) -> None:
    breakdown = Breakdown(load(tiles))
    breakdown.add(np.array([0]), torch.full((1, 2, 4, 4), torch.nan), torch.zeros(1, 4, 4, dtype=torch.int64))
    assert breakdown.calibration[0, :2].tolist() == [16, 0]
    assert not breakdown.calibration[1:].any()


def test_the_counts_of_a_breakdown_add_up_to_the_scores(tiles: Path) -> None:
    packed = load(tiles)
    net, test = build(TINY, packed), packed.indices("test")
    breakdown = Breakdown(packed)
    scores = measure(net, packed, test, cross_entropy, CPU, "fp32", breakdown.add)
    again = by_scene(net, packed, test, CPU, "fp32")
    assert all((again[scene] == counts).all() for scene, counts in breakdown.scenes.items())
    counts = sum(breakdown.scenes.values())
    assert counts[1, 1] / (counts[1].sum() + counts[0, 1]) == pytest.approx(scores["iou"])
    assert breakdown.calibration[:, 2].sum() / breakdown.calibration[:, 0].sum() == pytest.approx(scores["accuracy"])
    assert set(breakdown.scenes) == set(packed.scenes[test])
    assert breakdown.predicted.shape == packed.masks[test].shape
    assert (breakdown.predicted == packed.masks[test]).mean() == pytest.approx(scores["accuracy"])
