"""Runs to tables: pure functions. Their effects and verdicts are drawn from these tables by effects.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fieldgap.overfitting import diagnosis, overfits_from

if TYPE_CHECKING:
    from fieldgap.runs import Finished
    from fieldgap.sections import Report

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
