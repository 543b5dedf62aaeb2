"""The population gap, measured on fresh scenes that no run has seen, and how far the held-out scenes were from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fieldgap.analysis.confusions import confusions
from fieldgap.analysis.contrasts import MAIN, comparisons, contrast, levels_of, on_grid
from fieldgap.analysis.inference import mean_and_bounds
from fieldgap.analysis.resample import BOUNDS, resampled_ious, same_scenes
from fieldgap.analysis.runs import FINISHED

if TYPE_CHECKING:
    from fieldgap.analysis.runs import EvaluatedRun
    from fieldgap.analysis.tables import Analysis

HELD_OUT = ("val", "test")
SHOWN = ("val_iou", "test_iou", "fresh_iou", "gap_fresh_iou")  # The outcomes on which each axis is looked at.


def by_variant(finished: pd.DataFrame) -> list[dict[str, Any]]:
    """Return each variant's population gap, and the errors of its gaps on val and test, as means with intervals.

    Args:
        finished: The rows of `ablation.ablation_table` for finished runs.
    """
    variants = []
    for variant, rows in finished.groupby("variant", sort=False):
        fresh = rows["gap_fresh_iou"].to_numpy(np.float64)
        off = {f"{split}_off": rows[f"gap_{split}_iou"].to_numpy(np.float64) - fresh for split in HELD_OUT}
        means = {name: mean_and_bounds(values) for name, values in {"fresh": fresh, **off}.items()}
        variants.append({"variant": variant, **means})
    return variants


def over_scenes(runs: Sequence[EvaluatedRun], split: str) -> dict[str, Any]:
    """Return the mean gap over runs on one split, and its interval over resampled scenes.

    Returns:
        "scenes", the number of them, "mean", "low" and "high"; the bounds are NaN if runs have different scenes in the
        split, as across folds.
    """
    counts = [confusions(run.scenes, split) for run in runs]
    mean = float(np.mean([run.metrics[f"gap_{split}_iou"] for run in runs]))
    low = high = np.nan
    if same_scenes(counts):
        ious = [resampled_ious(scenes)[:, 1:].mean(1) for scenes in counts]
        gaps = [run.metrics["train_iou"] - iou for run, iou in zip(runs, ious, strict=True)]
        low, high = np.percentile(np.mean(gaps, 0), BOUNDS)
    return {"scenes": len(counts[0]), "mean": mean, "low": float(low), "high": float(high)}


def steps(scored: pd.DataFrame, axes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the mean difference that each step of an axis makes to the outcomes SHOWN, with intervals over seeds."""
    levels, rows = levels_of(scored, axes), []
    grids = {name: on_grid(scored[name].to_numpy(np.float64), levels) for name in SHOWN}
    for comparison in comparisons(levels):
        if comparison.kind == MAIN:
            seed_means = {name: contrast(grid, comparison, len(levels)).mean(0) for name, grid in grids.items()}
            rows.append({**comparison.columns, **{name: mean_and_bounds(mean) for name, mean in seed_means.items()}})
    return rows


def section(analysis: Analysis) -> dict[str, Any] | None:
    """Return what the page shows of the population gap, or None if it was not measured or no run finished."""
    if "gap_fresh_iou" not in analysis.table or not analysis.finished:
        return None
    return {
        "variants": by_variant(analysis.table[analysis.table["status"] == FINISHED]),
        "overall": {split: over_scenes(analysis.finished, split) for split in ("fresh", *HELD_OUT)},
        "steps": steps(analysis.scored, analysis.axes),
    }
