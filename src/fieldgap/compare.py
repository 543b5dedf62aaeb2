"""Runs to tables and verdicts: pure functions of tables. The seed is the unit of replication."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

if TYPE_CHECKING:
    from fieldgap.runs import Finished

SEED = "seed"
LEVEL = 0.05
EFFECT_COLUMNS = ("axis", "from", "to", "outcome", "pairs", "difference", "low", "high", "p")
# What an effect is measured on, and whether more of it is better.
OUTCOMES = {"val_iou": True, "test_iou": True, "test_background_iou": True, "gap_val_iou": False, "gap_test_iou": False}


def variant_axes(axes: Sequence[str]) -> list[str]:
    """-> the axes that tell variants apart: all but the seed."""
    return [axis for axis in axes if axis != SEED]


def variant_of(axes: dict[str, object]) -> str:
    """-> what a run's seeds have in common, in words: {"init": "orthogonal", "seed": 1} -> "init orthogonal"."""
    return ", ".join(f"{axis} {value}" for axis, value in axes.items() if axis != SEED) or "all runs"


def ablation(runs: Sequence[Finished]) -> pd.DataFrame:
    """-> one row a run: its name, its axes, and every final metric, those of the best epoch with the prefix best_."""
    return pd.DataFrame([{"run": run.name, "variant": variant_of(run.axes), **run.axes, **run.metrics} for run in runs])


def gap_table(runs: Sequence[Finished]) -> pd.DataFrame:
    """-> one row a run and epoch: errors (1 - IoU, also of the background), losses, and their gaps."""
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
        columns["running_loss"] = history["running_loss"]
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def variants(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Rows of ablation() -> one row a variant: seeds, and mean and standard deviation over seeds of each column."""
    grouped = table.groupby("variant", sort=False)
    summary = grouped[list(columns)].agg(["mean", "std"])
    summary.columns = [f"{column}_{how}" for column in columns for how in ("mean", "std")]
    return pd.concat([grouped.size().rename("seeds"), summary], axis=1).reset_index()


def pairs(table: pd.DataFrame, axes: Sequence[str], axis: str, levels: Sequence[object], outcome: str) -> pd.DataFrame:
    """-> the outcome of the runs that differ in `axis` alone: columns are the two levels, a row each pair, named."""
    others = [other for other in axes if other != axis]
    names = [", ".join(f"{other} {row[other]}" for other in others) for row in table.to_dict("records")]
    chosen = table.assign(pair=names)[table[axis].isin(levels)]
    return chosen.pivot(index="pair", columns=axis, values=outcome)[list(levels)]


def effect(differences: np.ndarray) -> dict[str, float]:
    """Paired differences (n,) -> their mean, its Student-t interval and two-sided p; nan without spread."""
    n, mean = len(differences), float(np.mean(differences))
    if n < 2 or np.ptp(differences) == 0:
        return {"pairs": n, "difference": mean, "low": np.nan, "high": np.nan, "p": np.nan}
    result = stats.ttest_1samp(differences, 0)
    low, high = result.confidence_interval(1 - LEVEL)
    return {"pairs": n, "difference": mean, "low": float(low), "high": float(high), "p": float(result.pvalue)}


def holm(p: np.ndarray) -> np.ndarray:
    """-> p-values adjusted for their family (Holm 1979); nan stays nan and does not count."""
    adjusted, known = np.full(len(p), np.nan), np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * factors))
    return adjusted


def verdict(difference: float, p: float, more_is_better: bool) -> str:
    if np.isnan(p) or p >= LEVEL:
        return "inconclusive"
    return "better" if (difference > 0) == more_is_better else "worse"


def effects(table: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """-> one row for each axis, neighbouring levels and outcome: the paired main effect over all other axes and seeds.

    `p_holm` is adjusted over all rows, and the verdict rests on it.
    """
    rows = [
        {"axis": axis, "from": levels[0], "to": levels[1], "outcome": outcome}
        | effect(np.diff(pairs(table, axes, axis, levels, outcome).to_numpy(), axis=1)[:, 0])
        for axis in variant_axes(axes)
        for levels in pairwise(table[axis].unique())
        for outcome in OUTCOMES
    ]
    result = pd.DataFrame(rows, columns=EFFECT_COLUMNS)
    result["p_holm"] = holm(result["p"].to_numpy(np.float64))
    result["verdict"] = [
        verdict(difference, p, OUTCOMES[outcome])
        for difference, p, outcome in zip(result["difference"], result["p_holm"], result["outcome"], strict=True)
    ]
    return result
