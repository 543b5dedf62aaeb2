"""The runs of a grid as tables: one row per run, per epoch, or per variant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from fieldgap.analysis.diagnosis import diagnose, epochs_to, level_to_reach, overfits_from
from fieldgap.analysis.runs import FINISHED

if TYPE_CHECKING:
    from fieldgap.analysis.runs import EvaluatedRun
    from fieldgap.settings.sections import Report


def ablation_table(runs: Sequence[EvaluatedRun], report: Report) -> pd.DataFrame:
    """Return one row per run: name, variant, axes, status, what its curves say, and every metric as measured.

    Metrics are those of the kept weights; the prefix best_ marks those of the best epoch.
    """
    level = level_to_reach(runs, report.reach)
    rows = []
    for run in runs:
        row = {"run": run.name, "variant": run.variant, **run.axes, "status": run.status}
        row |= {"fit": diagnose(run.history, report), "overfits_from": overfits_from(run.history, report)}
        rows.append({**row, "epochs_to_level": epochs_to(level, run), **run.metrics})
    return pd.DataFrame(rows)


def _run_gaps(run: EvaluatedRun) -> pd.DataFrame:
    history = run.history
    columns: dict[str, object] = {"run": run.name, "variant": run.variant, **run.axes}
    columns |= {"epoch": history["epoch"], "lr": history["lr"]}
    for prefix, metric in (("", "iou"), ("background_", "background_iou")):
        train, val = 1 - history[f"train_{metric}"], 1 - history[f"val_{metric}"]
        columns |= {f"train_{prefix}error": train, f"val_{prefix}error": val, f"{prefix}gap": val - train}
    train, val = history["train_loss"], history["val_loss"]
    columns |= {"train_loss": train, "val_loss": val, "loss_gap": val - train}
    columns |= {"running_loss": history["running_loss"], "naive_gap": val - history["running_loss"]}
    return pd.DataFrame(columns)


def gap_table(runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    """Return one row per run and epoch: errors (1 - IoU, also of the background), losses, and their gaps.

    naive_gap is the gap of the loss measured against the running loss. A run that diverged in its first epoch has no
    row.
    """
    tables = [_run_gaps(run) for run in runs]
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def naive_gaps(gap: pd.DataFrame) -> dict[str, float]:
    """Return the true and the naive gap of the loss after the first and the last epoch, averaged over runs.

    The keys are first_loss_gap, first_naive_gap, last_loss_gap and last_naive_gap.
    """
    ends = {"first": gap.groupby("run", sort=False).first(), "last": gap.groupby("run", sort=False).last()}
    return {
        f"{when}_{kind}": float(rows[kind].mean()) for when, rows in ends.items() for kind in ("loss_gap", "naive_gap")
    }


def variant_table(scored: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return one row per variant: seeds, failed runs, and the mean and deviation over seeds of each column.

    Args:
        scored: The table that `effects.score_failures` returns.
        columns: Outcomes or metrics to summarise.
    """
    grouped = scored.groupby("variant", sort=False)
    summary = grouped[list(columns)].agg(["mean", "std"])
    summary.columns = [f"{column}_{statistic}" for column in columns for statistic in ("mean", "std")]
    failed = (scored["status"] != FINISHED).groupby(scored["variant"], sort=False).sum().rename("failed")
    return pd.concat([grouped.size().rename("seeds"), failed, summary], axis=1).reset_index()
