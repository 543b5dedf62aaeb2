"""Scores from confusion counts, and the best epoch of a history.

A class that is neither present nor predicted scores 1: nothing was missed and nothing invented.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def ratio(part: float, whole: float, otherwise: float) -> float:
    """Return part / whole, or `otherwise` if `whole` is 0."""
    return part / whole if whole else otherwise


def class_ious(confusions: np.ndarray) -> np.ndarray:
    """Return the IoU of each class.

    Args:
        confusions: Pixel counts (..., C, C), truth by prediction, as floats.

    Returns:
        Shape (..., C), each in [0, 1].
    """
    both = np.diagonal(confusions, axis1=-2, axis2=-1)
    either = confusions.sum(-1) + confusions.sum(-2) - both
    return np.divide(both, either, out=np.ones_like(both), where=either > 0)


def scores(confusion: np.ndarray) -> dict[str, float]:
    """Return all metrics of a confusion matrix, each in [0, 1].

    `iou`, `dice`, `precision` and `recall` are means over the classes after the background; with two classes they are
    those of farmland. `mean_iou` is the mean over all classes. Precision is 0 if a class is present but never
    predicted, and recall is 0 if it is predicted but absent.

    Args:
        confusion: Pixel counts (C, C), truth by prediction, the background first.
    """
    ious = class_ious(confusion.astype(np.float64)).tolist()
    others = [_class_scores(confusion, index) for index in range(1, len(confusion))]
    mean = {name: math.fsum(row[name] for row in others) / len(others) for name in others[0]}
    return {
        "accuracy": ratio(int(np.trace(confusion)), int(confusion.sum()), 1.0),
        "iou": math.fsum(ious[1:]) / len(others),
        "background_iou": ious[0],
        "mean_iou": math.fsum(ious) / len(ious),
        **mean,
    }


def _class_scores(confusion: np.ndarray, index: int) -> dict[str, float]:
    tp = int(confusion[index, index])
    fp, fn = int(confusion[:, index].sum()) - tp, int(confusion[index].sum()) - tp
    return {
        "dice": ratio(2 * tp, 2 * tp + fp + fn, 1.0),
        "precision": ratio(tp, tp + fp, 0.0 if fn else 1.0),
        "recall": ratio(tp, tp + fn, 0.0 if fp else 1.0),
    }


def best_epoch(history: Sequence[Mapping[str, Any]]) -> int:
    """Return the first epoch with the highest val_iou, counting from 1, or 0 if no epoch was completed.

    Args:
        history: One row per epoch, as numbers or as read from history.csv.
    """
    return int(max(history, key=lambda row: float(row["val_iou"]))["epoch"]) if history else 0
