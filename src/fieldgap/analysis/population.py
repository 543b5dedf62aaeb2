"""The population gap: that on fresh scenes which no run has seen, and how far held-out scenes were from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fieldgap.analysis.ablation import FINISHED
from fieldgap.analysis.effects import MAIN, contrast, levels_of, on_grid, questions
from fieldgap.analysis.resample import BOUNDS, confusions, draws
from fieldgap.analysis.tables import Analysis, mean_and_bounds
from fieldgap.base.scores import class_ious

if TYPE_CHECKING:
    from fieldgap.analysis.runs import Finished

ESTIMATES = ("val", "test")
SHOWN = ("val_iou", "test_iou", "fresh_iou", "gap_fresh_iou")  # what the steps of axes are looked at on


def by_variant(table: pd.DataFrame) -> list[dict[str, Any]]:
    """compare.ablation() -> for each variant with a finished run, means over seeds with intervals: the population gap,
    and by how much the gaps on val and test were off."""
    found = []
    for variant, rows in table[table["status"] == FINISHED].groupby("variant", sort=False):
        row: dict[str, Any] = {"variant": variant, "fresh": mean_and_bounds(rows["gap_fresh_iou"])}
        for split in ESTIMATES:
            row[f"{split}_off"] = mean_and_bounds(rows[f"gap_{split}_iou"] - rows["gap_fresh_iou"])
        found.append(row)
    return found


def over_scenes(runs: Sequence[Finished], split: str) -> dict[str, Any]:
    """-> scenes, mean, low, high: the mean gap over runs, and what other scenes of that split would have made of it.

    The bounds are nan where runs have different scenes in it, as over folds.
    """
    counted = [confusions(run.scenes, split) for run in runs]
    found = {"scenes": len(counted[0]), "mean": float(np.mean([run.metrics[f"gap_{split}_iou"] for run in runs]))}
    if len({tuple(each) for each in counted}) > 1:
        return {**found, "low": np.nan, "high": np.nan}
    drawn = [class_ious(np.tensordot(draws(len(each)), np.stack(list(each.values())), 1)) for each in counted]
    gaps = [run.metrics["train_iou"] - ious[:, 1:].mean(1) for run, ious in zip(runs, drawn, strict=True)]
    low, high = np.percentile(np.mean(gaps, 0), BOUNDS)
    return {**found, "low": float(low), "high": float(high)}


def steps(counts: pd.DataFrame, axes: Sequence[str]) -> list[dict[str, Any]]:
    """effects.counted() -> what each step of an axis does on held-out and fresh scenes, over seeds with intervals."""
    levels, rows = levels_of(counts, axes), []
    for question in questions(levels):
        if question.kind == MAIN:
            grids = {name: on_grid(counts[name].to_numpy(np.float64), levels) for name in SHOWN}
            pairs = {name: contrast(grid, question, len(levels)).mean(0) for name, grid in grids.items()}
            rows.append({**question.row, **{name: mean_and_bounds(pd.Series(each)) for name, each in pairs.items()}})
    return rows


def section(found: Analysis) -> dict[str, Any] | None:
    """-> what the page tells of the population gap; None where nothing of it was measured or no run finished."""
    if "gap_fresh_iou" not in found.table or not found.finished:
        return None
    return {
        "variants": by_variant(found.table),
        "overall": {split: over_scenes(found.finished, split) for split in ("fresh", *ESTIMATES)},
        "steps": steps(found.counts, found.axes),
    }
