"""Where and how a network errs on one split: counts a scene, counts along borders, confidence against correctness."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fieldgap.base.labels import IGNORE
from fieldgap.network.measure import predictions

if TYPE_CHECKING:
    from fieldgap.tiles.packed import Tiles

BINS = 15  # of equal width in confidence, as Guo et al. (2017) have them.
BAND = 0.02  # of a tile's diagonal: the width of a border's band in boundary IoU (Cheng et al. 2021).


def confusions(truth: Tensor, predicted: Tensor, classes: int) -> np.ndarray:
    """(B, H, W) twice -> (B, C, C) pixel counts of each tile, truth by prediction, without pixels of no known class."""
    known = truth != IGNORE
    tile = torch.arange(len(truth))[:, None, None].expand_as(truth)
    cells = (tile * classes + truth) * classes + predicted
    return torch.bincount(cells[known], minlength=len(truth) * classes**2).reshape(-1, classes, classes).numpy()


def add_by_scene(
    scenes: dict[str, np.ndarray], tiles: Tiles, chosen: np.ndarray, truth: Tensor, predicted: Tensor
) -> None:
    """Adds the pixel counts (C, C) of a batch, truth by prediction, to those of its scenes."""
    for scene, counts in zip(tiles.scenes[chosen], confusions(truth, predicted, len(tiles.classes)), strict=True):
        scenes[str(scene)] = scenes.get(str(scene), 0) + counts


def by_scene(
    net: nn.Module, tiles: Tiles, indices: np.ndarray, device: torch.device, precision: str
) -> dict[str, np.ndarray]:
    """-> scene -> (C, C) pixel counts, truth by prediction, in eval mode without augmentation."""
    scenes: dict[str, np.ndarray] = {}
    for chosen, logits, truth in predictions(net, tiles, indices, device, precision):
        add_by_scene(scenes, tiles, chosen, truth.cpu(), logits.argmax(1).cpu())
    return scenes


def band(members: Tensor, known: Tensor, width: int) -> Tensor:
    """(B, H, W) members of a class -> those within `width` px of a pixel of another class (chessboard distance).

    The edge of a tile is no border, and neither is that to pixels of no known class.
    """
    others = (~members & known).float()[:, None]
    near = functional.max_pool2d(others, 2 * width + 1, stride=1, padding=width)[:, 0] > 0
    return members & known & near


def border_counts(truth: Tensor, predicted: Tensor, classes: int) -> np.ndarray:
    """(B, H, W) twice -> (C, 2): pixels in both bands and in either, for each class."""
    width = max(1, round(BAND * math.hypot(*truth.shape[1:])))
    known = truth != IGNORE
    counts = []
    for each in range(classes):
        true, found = (band(labels == each, known, width) for labels in (truth, predicted))
        counts.append([int((true & found).sum()), int((true | found).sum())])
    return np.array(counts)


def calibration_counts(confidence: Tensor, right: Tensor) -> np.ndarray:
    """(P,) twice -> (BINS, 3): pixels, sum of confidences and right ones of each bin."""
    bins = (confidence * BINS).long().clamp(max=BINS - 1).numpy()
    columns = (np.ones(len(bins)), confidence.double().numpy(), right.double().numpy())
    return np.stack([np.bincount(bins, column, minlength=BINS) for column in columns], 1)


def calibration_error(counts: np.ndarray) -> float:
    """(BINS, 3) -> the mean over pixels of |share right - mean confidence| of their bin (ECE, Guo et al. 2017)."""
    return float(np.abs(counts[:, 2] - counts[:, 1]).sum() / max(counts[:, 0].sum(), 1))


def border_iou(counts: np.ndarray) -> float:
    """(C, 2) -> the mean boundary IoU over the classes after the first; 1 for a class without any border."""
    return float(np.mean([both / either if either else 1.0 for both, either in counts[1:].tolist()]))


class Examined:
    """What a network predicts for one split, gathered while it is measured.

    `scenes`: name -> (C, C) pixel counts, truth by prediction; `border` (C, 2): pixels of the bands' intersections and
    unions; `calibration` (BINS, 3): pixels, sum of confidences, right ones.
    """

    def __init__(self, tiles: Tiles) -> None:
        self.tiles = tiles
        self.parts: list[np.ndarray] = []
        self.scenes: dict[str, np.ndarray] = {}
        self.border = np.zeros((len(tiles.classes), 2), np.int64)
        self.calibration = np.zeros((BINS, 3))

    def add(self, chosen: np.ndarray, logits: Tensor, truth: Tensor) -> None:
        """Adds a batch: its tiles, logits (B, C, H, W) and true classes (B, H, W).

        The probability of a predicted class that is no number, of weights that diverged, counts as 0.
        """
        most, found = logits.float().softmax(1).max(1)
        truth, predicted, confidence = truth.cpu(), found.cpu(), most.nan_to_num(0.0).cpu()
        self.parts.append(predicted.numpy().astype(np.uint8))
        add_by_scene(self.scenes, self.tiles, chosen, truth, predicted)
        self.border += border_counts(truth, predicted, len(self.tiles.classes))
        known = truth != IGNORE
        self.calibration += calibration_counts(confidence[known], (predicted == truth)[known])

    @property
    def predicted(self) -> np.ndarray:
        """(N, H, W) uint8 classes."""
        return np.concatenate(self.parts)
