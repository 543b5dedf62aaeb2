from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from sklearn import metrics
from torch import Tensor, nn

from fieldgap.base.labels import IGNORE
from fieldgap.network.build import build
from fieldgap.network.measure import confusion_of, gaps, measure, scores
from fieldgap.parts.losses import cross_entropy
from fieldgap.tiles.packed import Tiles, load

CPU = torch.device("cpu")


def test_scores_of_a_hand_computed_case() -> None:
    found = scores(np.array([[50, 10], [5, 35]]))
    assert found == pytest.approx(
        {
            "accuracy": 85 / 100,
            "iou": 35 / 50,
            "background_iou": 50 / 65,
            "mean_iou": (35 / 50 + 50 / 65) / 2,
            "dice": 70 / 85,
            "precision": 35 / 45,
            "recall": 35 / 40,
        }
    )


def test_scores_are_scikit_learns() -> None:
    random = np.random.default_rng(0)
    truth, predicted = random.integers(0, 2, 500), random.integers(0, 2, 500)
    found = scores(confusion_of(torch.tensor(predicted), torch.tensor(truth), 2).numpy())
    assert found["iou"] == pytest.approx(metrics.jaccard_score(truth, predicted))
    assert found["background_iou"] == pytest.approx(metrics.jaccard_score(truth, predicted, pos_label=0))
    assert found["dice"] == pytest.approx(metrics.f1_score(truth, predicted))
    assert found["precision"] == pytest.approx(metrics.precision_score(truth, predicted))
    assert found["recall"] == pytest.approx(metrics.recall_score(truth, predicted))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, predicted))


@pytest.mark.parametrize(
    ("confusion", "expected"),
    [
        ([[9, 0], [0, 0]], {"iou": 1, "precision": 1, "recall": 1, "dice": 1}),
        ([[5, 4], [0, 0]], {"iou": 0, "precision": 0, "recall": 0, "dice": 0}),
        ([[5, 0], [4, 0]], {"iou": 0, "precision": 0, "recall": 0, "dice": 0}),
        ([[0, 0], [0, 9]], {"iou": 1, "background_iou": 1, "recall": 1}),
    ],
)
def test_nothing_over_nothing_is_stated(confusion: list[list[int]], expected: dict[str, float]) -> None:
    assert scores(np.array(confusion)).items() >= expected.items()


class Oracle(nn.Module):
    """Predicts the class that the first pixel value of each place names, with logits of 0 and 2."""

    def forward(self, images: Tensor) -> Tensor:
        first = images[:, :1].float()
        return torch.cat([2 * (1 - first), 2 * first], 1)


def packed_as(guess: np.ndarray, masks: np.ndarray, classes: int) -> Tiles:
    """Tiles (N, H, W) whose three equal bands name the class that an oracle is to predict."""
    names = ("background", "farmland", "water")[:classes]
    n = len(masks)
    return Tiles(
        np.repeat(guess[..., None], 3, 3), masks, np.array([""] * n), np.array(["val"] * n), names, [0.0] * 3, [1.0] * 3
    )


def test_counts_are_summed_over_tiles_of_all_batches() -> None:
    """70 tiles need three batches; IoU of the sums differs from the mean of IoUs."""
    random = np.random.default_rng(0)
    masks = random.integers(0, 2, (70, 4, 4)).astype(np.uint8)
    masks[::2] = 0
    guess = np.where(random.random(masks.shape) < 0.2, 1 - masks, masks).astype(np.uint8)
    tiles = packed_as(guess, masks, 2)
    found = measure(Oracle(), tiles, np.arange(70), cross_entropy, CPU, "fp32")
    assert found["iou"] == pytest.approx(metrics.jaccard_score(masks.ravel(), guess.ravel()))
    right = np.log1p(np.exp(-2.0))
    assert found["loss"] == pytest.approx(right + 2 * np.mean(guess != masks), rel=1e-5)


class Certain(nn.Module):
    """Predicts the class that the first band of each place names, of three, with logits of 0 and 9."""

    def forward(self, images: Tensor) -> Tensor:
        return 9 * nn.functional.one_hot(images[:, 0].long(), 3).movedim(3, 1).float()


def test_three_classes_are_scikit_learns_and_ignored_pixels_count_nowhere() -> None:
    random = np.random.default_rng(1)
    masks = random.integers(0, 3, (40, 4, 4)).astype(np.uint8)
    guess = np.where(random.random(masks.shape) < 0.3, random.integers(0, 3, masks.shape), masks).astype(np.uint8)
    masks[5:9] = IGNORE
    masks[:, 0, 0] = IGNORE
    found = measure(Certain(), packed_as(guess, masks, 3), np.arange(40), cross_entropy, CPU, "fp32")
    known = masks != IGNORE
    truth, predicted = masks[known], guess[known]
    each = metrics.jaccard_score(truth, predicted, average=None)
    assert found["iou"] == pytest.approx(each[1:].mean())
    assert found["background_iou"] == pytest.approx(each[0])
    assert found["mean_iou"] == pytest.approx(each.mean())
    for name, score in (("precision", metrics.precision_score), ("recall", metrics.recall_score)):
        assert found[name] == pytest.approx(score(truth, predicted, average=None)[1:].mean())
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    right = np.log1p(2 * np.exp(-9.0))
    assert found["loss"] == pytest.approx(right + 9 * np.mean(truth != predicted), rel=1e-5)


def test_measuring_is_done_in_eval_mode_and_leaves_no_trace(tiles: Path) -> None:
    packed = load(tiles)
    net = build(TINY, packed).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    one = measure(net, packed, packed.indices("val"), cross_entropy, CPU, "fp32")
    assert net.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert one == measure(net.eval(), packed, packed.indices("val"), cross_entropy, CPU, "fp32")
    assert not net.training


def test_a_gap_is_held_out_error_minus_training_error() -> None:
    found = gaps({"iou": 0.9, "loss": 0.2}, {"iou": 0.7, "loss": 0.5})
    assert found == pytest.approx({"iou": 0.2, "loss": 0.3})


def test_a_loss_may_change_logits_in_place_and_who_watches_sees_them_before(tiles: Path) -> None:
    packed, seen = load(tiles), []
    given = build(TINY, packed), packed, packed.indices("val"), lambda logits, _: logits.mul_(0).sum(), CPU, "fp32"
    found = measure(*given, watch=lambda chosen, logits, truth: seen.append(float(logits.abs().sum())))
    assert found["loss"] == 0
    assert min(seen) > 0
