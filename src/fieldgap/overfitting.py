"""What a run's curves say, by rules that can be looked up: overfitting from an epoch on, underfitting, or neither."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from fieldgap.sections import Report

OVERFITTING, UNDERFITTING, NEITHER = "overfitting", "underfitting", "neither overfitting nor underfitting"


def slope(values: np.ndarray) -> float:
    """(epochs,) -> the change an epoch of the straight line through them, by least squares."""
    return round(float(np.polyfit(np.arange(len(values)), values, 1)[0]), 12)  # A constant must not seem to rise.


def parting(train: np.ndarray, val: np.ndarray, window: int, margin: float) -> int | None:
    """Accuracies (epochs,) -> the number, from 0, of the epoch from which training and validation part, or None.

    That is the first epoch with the highest validation accuracy, if at least `window` epochs follow and the lines
    fitted from it to the end rise in training and fall in validation, the latter by more than `margin` in all. The
    article's sign of overfitting, training accuracy up and validation accuracy down, made precise: a fitted line
    instead of two points, and a least fall, so that noise around a plateau is no overfitting.
    """
    if not len(val):
        return None
    first = int(np.argmax(val))
    after = len(val) - 1 - first
    if after < window or slope(train[first:]) <= 0 or -slope(val[first:]) * after <= margin:
        return None
    return first


def overfits_from(history: pd.DataFrame, report: Report) -> int | None:
    """-> the epoch from which a run overfits, or None."""
    train, val = (history[f"{split}_accuracy"].to_numpy(np.float64) for split in ("train", "val"))
    first = parting(train, val, report.window, report.margin)
    return None if first is None else int(history["epoch"].iloc[first])


def diagnosis(history: pd.DataFrame, report: Report) -> str:
    """-> OVERFITTING by the rule above; UNDERFITTING when at the end training is poor and the gap is small; or NEITHER.

    Poor is a training error (1 - IoU) above report.poor, small a gap of at most report.small_gap. A run without a
    completed epoch is NEITHER.
    """
    if overfits_from(history, report) is not None:
        return OVERFITTING
    if not len(history):
        return NEITHER
    last = history.iloc[-1]
    poor, gap = 1 - last["train_iou"] > report.poor, last["train_iou"] - last["val_iou"]
    return UNDERFITTING if poor and gap <= report.small_gap else NEITHER
