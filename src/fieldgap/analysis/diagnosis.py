"""What the curves of a run say: when it reaches a level, and whether it overfits or underfits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from fieldgap.analysis.runs import EvaluatedRun
    from fieldgap.settings.sections import Report

OVERFITTING, UNDERFITTING, NEITHER = "overfitting", "underfitting", "neither overfitting nor underfitting"


def level_to_reach(runs: Sequence[EvaluatedRun], reach: float) -> float:
    """Return the validation IoU to reach: `reach` times the median that finished runs end with, or 1 without any."""
    final = [run.metrics["val_iou"] for run in runs if run.finished]
    return reach * float(np.median(final)) if final else 1.0


def epochs_to(level: float, run: EvaluatedRun) -> int:
    """Return the first epoch with that validation IoU, or one past the last if the run diverged or never gets there."""
    reached = run.history.loc[run.history["val_iou"] >= level, "epoch"]
    return int(reached.iloc[0]) if len(reached) and run.finished else int(run.config["epochs"]) + 1


def slope(values: np.ndarray) -> float:
    """Return the change per epoch of the least-squares line through one value per epoch."""
    return round(float(np.polyfit(np.arange(len(values)), values, 1)[0]), 12)  # A constant must not seem to rise.


def overfitting_onset(train: np.ndarray, val: np.ndarray, window: int, margin: float) -> int | None:
    """Return the index of the epoch from which a run overfits, or None.

    This makes the article's sign of overfitting precise, which is training accuracy going up while validation accuracy
    goes down. The onset is the first epoch with the highest validation accuracy, provided that the lines fitted from
    there to the end rise in training and fall in validation. Lines instead of two points, and a minimum fall, keep
    noise around a plateau from counting as overfitting.

    Args:
        train: Training accuracy by epoch.
        val: Validation accuracy by epoch.
        window: Epochs that must follow the onset.
        margin: How far the validation line must fall over the epochs that follow.
    """
    if not len(val):
        return None
    onset = int(np.argmax(val))
    after = len(val) - 1 - onset
    if after < window or slope(train[onset:]) <= 0 or -slope(val[onset:]) * after <= margin:
        return None
    return onset


def overfits_from(history: pd.DataFrame, report: Report) -> int | None:
    """Return the number of the epoch from which a run overfits, or None."""
    train, val = (history[f"{split}_accuracy"].to_numpy(np.float64) for split in ("train", "val"))
    onset = overfitting_onset(train, val, report.window, report.margin)
    return None if onset is None else int(history["epoch"].iloc[onset])


def diagnose(history: pd.DataFrame, report: Report) -> str:
    """Return OVERFITTING, UNDERFITTING or NEITHER.

    A run underfits if its final training error (1 - IoU) is above `report.poor` and its gap at most `report.small_gap`.
    A run that completed no epoch is NEITHER.
    """
    if overfits_from(history, report) is not None:
        return OVERFITTING
    if not len(history):
        return NEITHER
    last = history.iloc[-1]
    poor, gap = 1 - last["train_iou"] > report.poor, last["train_iou"] - last["val_iou"]
    return UNDERFITTING if poor and gap <= report.small_gap else NEITHER
