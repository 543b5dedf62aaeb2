"""Where and how a network errs: pixel counts per scene and along borders, and confidence against correctness."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fieldgap.base.labels import IGNORE
from fieldgap.network.measure import confusions, predictions

if TYPE_CHECKING:
    from fieldgap.tiles.packed import Tiles

BINS = 15  # Of equal width in confidence (Guo et al. 2017).
BAND = 0.02  # Width of the band along a border, as a share of a tile's diagonal (Cheng et al. 2021).


class Breakdown:
    """What a network predicts for the tiles of one split, gathered batch by batch while it is measured.

    Attributes:
        scenes: For each scene its pixel counts (C, C), truth by prediction.
        borders: For each class (C, 2) the pixels in the intersection and in the union of the true and predicted bands.
        calibration: For each bin of confidence (BINS, 3) its pixels, the sum of their confidences, and how many of them
            are right.
    """

    def __init__(self, tiles: Tiles) -> None:
        self.scenes: dict[str, np.ndarray] = {}
        self.borders = np.zeros((len(tiles.classes), 2), np.int64)
        self.calibration = np.zeros((BINS, 3))
        self._tiles = tiles
        self._predicted: list[np.ndarray] = []

    def add(self, chosen: np.ndarray, logits: Tensor, truth: Tensor) -> None:
        """Add a batch.

        The confidence of a prediction whose probability is NaN, as after divergence, counts as 0.

        Args:
            chosen: The indices (B,) of the tiles.
            logits: The logits (B, C, H, W) of their pixels.
            truth: The true classes (B, H, W).
        """
        highest, classes = logits.float().softmax(1).max(1)
        truth, predicted, confidence = truth.cpu(), classes.cpu(), highest.nan_to_num(0.0).cpu()
        self._predicted.append(predicted.numpy().astype(np.uint8))
        _add_by_scene(self.scenes, self._tiles, chosen, truth, predicted)
        self.borders += border_counts(truth, predicted, len(self._tiles.classes))
        known = truth != IGNORE
        self.calibration += calibration_counts(confidence[known], (predicted == truth)[known])

    @property
    def predicted(self) -> np.ndarray:
        """The predicted classes (N, H, W) of all tiles, in uint8."""
        return np.concatenate(self._predicted)


def by_scene(
    net: nn.Module, tiles: Tiles, indices: np.ndarray, device: torch.device, precision: str
) -> dict[str, np.ndarray]:
    """Return the pixel counts (C, C), truth by prediction, of each scene that some tiles are from."""
    scenes: dict[str, np.ndarray] = {}
    for chosen, logits, truth in predictions(net, tiles, indices, device, precision):
        _add_by_scene(scenes, tiles, chosen, truth.cpu(), logits.argmax(1).cpu())
    return scenes


def _add_by_scene(
    scenes: dict[str, np.ndarray], tiles: Tiles, chosen: np.ndarray, truth: Tensor, predicted: Tensor
) -> None:
    counts = confusions(truth, predicted, len(tiles.classes)).numpy()
    for scene, confusion in zip(tiles.scenes[chosen], counts, strict=True):
        scenes[str(scene)] = scenes.get(str(scene), 0) + confusion


def band(members: Tensor, known: Tensor, width: int) -> Tensor:
    """Return the pixels of a class near another class.

    The edge of a tile is no border, and neither is the edge to unknown pixels.

    Args:
        members: Which pixels (B, H, W) are of the class.
        known: The class of which pixels (B, H, W) is known.
        width: How far, in px of chessboard distance, a pixel of another class may be.
    """
    others = (~members & known).float()[:, None]
    near = functional.max_pool2d(others, 2 * width + 1, stride=1, padding=width)[:, 0] > 0
    return members & known & near


def border_counts(truth: Tensor, predicted: Tensor, classes: int) -> np.ndarray:
    """Return the pixels in both bands, the true and the predicted one, and in either, for each class (C, 2).

    Args:
        truth: Class indices (B, H, W).
        predicted: Class indices (B, H, W).
        classes: Number of classes, C.
    """
    width = max(1, round(BAND * math.hypot(*truth.shape[1:])))
    known = truth != IGNORE
    counts = []
    for index in range(classes):
        one, other = (band(labels == index, known, width) for labels in (truth, predicted))
        counts.append([int((one & other).sum()), int((one | other).sum())])
    return np.array(counts)


def border_iou(counts: np.ndarray) -> float:
    """Return the mean boundary IoU over the classes after the first; a class without any border has 1.

    Args:
        counts: Pixels (C, 2) in both bands and in either.
    """
    return float(np.mean([both / either if either else 1.0 for both, either in counts[1:].tolist()]))


def calibration_counts(confidence: Tensor, right: Tensor) -> np.ndarray:
    """Return, for each bin of confidence (BINS, 3), its pixels, the sum of their confidences, and the right ones.

    Args:
        confidence: The probability (P,) of the predicted class of each pixel.
        right: Whether it is the true class (P,).
    """
    bins = (confidence * BINS).long().clamp(max=BINS - 1).numpy()
    columns = (np.ones(len(bins)), confidence.double().numpy(), right.double().numpy())
    return np.stack([np.bincount(bins, column, minlength=BINS) for column in columns], 1)


def calibration_error(counts: np.ndarray) -> float:
    """Return the mean over pixels of |share right - mean confidence| of their bin (ECE, Guo et al. 2017).

    Args:
        counts: For each bin (BINS, 3) its pixels, the sum of their confidences, and the right ones.
    """
    return float(np.abs(counts[:, 2] - counts[:, 1]).sum() / max(counts[:, 0].sum(), 1))
