"""Runs to tables: pure functions. Their effects and verdicts are drawn from these tables by effects.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from fieldgap.analysis.runs import Finished
    from fieldgap.settings.sections import Report

SEED = "seed"
FINISHED = "finished"


def variant_axes(axes: Sequence[str]) -> list[str]:
    """-> the axes that tell variants apart: all but the seed."""
    return [axis for axis in axes if axis != SEED]


def variant_of(axes: dict[str, object]) -> str:
    """-> what a run's seeds have in common, in words: {"init": "orthogonal", "seed": 1} -> "init orthogonal"."""
    return ", ".join(f"{axis} {value}" for axis, value in axes.items() if axis != SEED) or "all runs"


def level_to_reach(runs: Sequence[Finished], reach: float) -> float:
    """-> the validation IoU whose epoch is looked for: a share of the median of the finished runs' last ones."""
    last = [run.metrics["val_iou"] for run in runs if run.status == FINISHED]
    return reach * float(np.median(last)) if last else 1.0


def epochs_to(level: float, run: Finished) -> int:
    """-> the first epoch with that validation IoU; one after the last for a run that never has it or diverged."""
    reached = run.history.loc[run.history["val_iou"] >= level, "epoch"]
    return int(reached.iloc[0]) if len(reached) and run.status == FINISHED else int(run.config["epochs"]) + 1


def ablation(runs: Sequence[Finished], report: Report) -> pd.DataFrame:
    """-> one row a run: name, variant, axes, status, what its curves say, and every metric as it was measured.

    Metrics are those of the last completed epoch, those of the best one have the prefix best_.
    """
    level = level_to_reach(runs, report.reach)
    rows = []
    for run in runs:
        row = {"run": run.name, "variant": variant_of(run.axes), **run.axes, "status": run.status}
        row |= {"fit": diagnosis(run.history, report), "overfits_from": overfits_from(run.history, report)}
        rows.append({**row, "epochs_to_level": epochs_to(level, run), **run.metrics})
    return pd.DataFrame(rows)


def gap_table(runs: Sequence[Finished]) -> pd.DataFrame:
    """-> one row a run and epoch: errors (1 - IoU, also of the background), losses, and their gaps.

    naive_gap is what the running loss would make of the loss's gap. A run that diverged in its first epoch has no row.
    """
    tables = []
    for run in runs:
        history = run.history
        columns: dict[str, object] = {"run": run.name, "variant": variant_of(run.axes), **run.axes}
        columns |= {"epoch": history["epoch"], "lr": history["lr"]}
        for prefix, metric in (("", "iou"), ("background_", "background_iou")):
            train, val = 1 - history[f"train_{metric}"], 1 - history[f"val_{metric}"]
            columns |= {f"train_{prefix}error": train, f"val_{prefix}error": val, f"{prefix}gap": val - train}
        train, val = history["train_loss"], history["val_loss"]
        columns |= {"train_loss": train, "val_loss": val, "loss_gap": val - train}
        columns |= {"running_loss": history["running_loss"], "naive_gap": val - history["running_loss"]}
        tables.append(pd.DataFrame(columns))
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def variants(counts: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Rows of runs -> one row a variant: seeds, failed ones, and mean and deviation over seeds of each column."""
    grouped = counts.groupby("variant", sort=False)
    summary = grouped[list(columns)].agg(["mean", "std"])
    summary.columns = [f"{column}_{how}" for column in columns for how in ("mean", "std")]
    failed = (counts["status"] != FINISHED).groupby(counts["variant"], sort=False).sum().rename("failed")
    return pd.concat([grouped.size().rename("seeds"), failed, summary], axis=1).reset_index()


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
