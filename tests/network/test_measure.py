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
from fieldgap.network.measure import confusions, measure
from fieldgap.parts.losses import cross_entropy
from fieldgap.tiles.packed import Tiles, load

CPU = torch.device("cpu")


def test_the_confusion_of_each_tile_is_that_of_scikit_learn_without_ignored_pixels() -> None:
    random = np.random.default_rng(0)
    truth, predicted = random.integers(0, 3, (4, 6, 5)), random.integers(0, 3, (4, 6, 5))
    truth[2, :3] = IGNORE
    counts = confusions(torch.tensor(truth), torch.tensor(predicted), 3)
    for tile, true, guess in zip(counts, truth, predicted, strict=True):
        known = true != IGNORE
        assert (tile.numpy() == metrics.confusion_matrix(true[known], guess[known], labels=[0, 1, 2])).all()


class Oracle(nn.Module):
    """Predicts the class, of two, that the first band of a pixel names, with logits of 0 and 2."""

    def forward(self, images: Tensor) -> Tensor:
        first = images[:, :1].float()
        return torch.cat([2 * (1 - first), 2 * first], 1)


def packed_as(guess: np.ndarray, masks: np.ndarray, classes: int) -> Tiles:
    """Return tiles (N, H, W) whose three equal bands name the class that an oracle predicts."""
    names = ("background", "farmland", "water")[:classes]
    n = len(masks)
    return Tiles(
        np.repeat(guess[..., None], 3, 3), masks, np.array([""] * n), np.array(["val"] * n), names, [0.0] * 3, [1.0] * 3
    )


def test_counts_are_summed_over_tiles_of_all_batches() -> None:
    """70 tiles make three batches, and the IoU of the sums is not the mean of the IoUs."""
    random = np.random.default_rng(0)
    masks = random.integers(0, 2, (70, 4, 4)).astype(np.uint8)
    masks[::2] = 0
    guess = np.where(random.random(masks.shape) < 0.2, 1 - masks, masks).astype(np.uint8)
    tiles = packed_as(guess, masks, 2)
    measured = measure(Oracle(), tiles, np.arange(70), cross_entropy, CPU, "fp32")
    assert measured["iou"] == pytest.approx(metrics.jaccard_score(masks.ravel(), guess.ravel()))
    right = np.log1p(np.exp(-2.0))
    assert measured["loss"] == pytest.approx(right + 2 * np.mean(guess != masks), rel=1e-5)


class Certain(nn.Module):
    """Predicts the class, of three, that the first band of a pixel names, with logits of 0 and 9."""

    def forward(self, images: Tensor) -> Tensor:
        return 9 * nn.functional.one_hot(images[:, 0].long(), 3).movedim(3, 1).float()


def test_scores_of_three_classes_are_those_of_scikit_learn_without_ignored_pixels() -> None:
    random = np.random.default_rng(1)
    masks = random.integers(0, 3, (40, 4, 4)).astype(np.uint8)
    guess = np.where(random.random(masks.shape) < 0.3, random.integers(0, 3, masks.shape), masks).astype(np.uint8)
    masks[5:9] = IGNORE
    masks[:, 0, 0] = IGNORE
    measured = measure(Certain(), packed_as(guess, masks, 3), np.arange(40), cross_entropy, CPU, "fp32")
    known = masks != IGNORE
    truth, predicted = masks[known], guess[known]
    ious = metrics.jaccard_score(truth, predicted, average=None)
    assert measured["iou"] == pytest.approx(ious[1:].mean())
    assert measured["background_iou"] == pytest.approx(ious[0])
    assert measured["mean_iou"] == pytest.approx(ious.mean())
    for name, score in (("precision", metrics.precision_score), ("recall", metrics.recall_score)):
        assert measured[name] == pytest.approx(score(truth, predicted, average=None)[1:].mean())
    assert measured["accuracy"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    right = np.log1p(2 * np.exp(-9.0))
    assert measured["loss"] == pytest.approx(right + 9 * np.mean(truth != predicted), rel=1e-5)


def test_measuring_happens_in_eval_mode_and_leaves_no_trace(tiles: Path) -> None:
    packed = load(tiles)
    net = build(TINY, packed).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    one = measure(net, packed, packed.indices("val"), cross_entropy, CPU, "fp32")
    assert net.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert one == measure(net.eval(), packed, packed.indices("val"), cross_entropy, CPU, "fp32")
    assert not net.training


def test_watch_sees_the_logits_before_a_loss_that_changes_them_in_place(tiles: Path) -> None:
    packed, sums = load(tiles), []
    arguments = build(TINY, packed), packed, packed.indices("val"), lambda logits, _: logits.mul_(0).sum(), CPU, "fp32"
    measured = measure(*arguments, watch=lambda chosen, logits, truth: sums.append(float(logits.abs().sum())))
    assert measured["loss"] == 0
    assert min(sums) > 0
