"""What each axis of a grid does to each outcome, pair by pair, and the verdicts on it.

Pairs of one seed are averaged, and the seeds are tested; see `inference.py`. All comparisons and outcomes of a grid
form one family of tests.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fieldgap.analysis import inference
from fieldgap.analysis.contrasts import (
    INTERACTION,
    MAIN,
    Comparison,
    comparisons,
    contrast,
    levels_of,
    on_grid,
    variant_axes,
)
from fieldgap.analysis.runs import FINISHED, SEED, variant_of

if TYPE_CHECKING:
    from fieldgap.settings.sections import Report

DEPENDS = "depends"  # Replaces better and worse for interactions, which are neither.


@dataclass(frozen=True)
class Outcome:
    """What an effect is measured on.

    Attributes:
        words: Its name for readers.
        more_is_better: Whether a larger value is an improvement.
        failed: What a failed run scores: the worst possible value, infinity for the worst in the grid, or NaN where
            failing leaves nothing to measure, as with a gap. A comparison that loses a pair to NaN is inconclusive
            whatever the other pairs say.
    """

    words: str
    more_is_better: bool
    failed: float


OUTCOMES = {
    "val_iou": Outcome("validation IoU", True, 0.0),
    "test_iou": Outcome("test IoU", True, 0.0),
    "test_background_iou": Outcome("test IoU of the background", True, 0.0),
    "gap_val_iou": Outcome("gap on validation", False, np.nan),
    "gap_test_iou": Outcome("gap on test", False, np.nan),
    "epochs_to_level": Outcome("epochs to the level", False, np.inf),
}
FRESH_OUTCOMES = {  # Measured on drawn scenes only, to check the answers: not part of the family of tests.
    "fresh_iou": Outcome("IoU on fresh scenes", True, 0.0),
    "gap_fresh_iou": Outcome("population gap", False, np.nan),
}


def score_failures(table: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """Return one row for each point of the grid, in its order, with failed runs scored as their outcomes define.

    A run that diverged or is missing gets the worst value that an outcome can have, such as an IoU of 0.

    Args:
        table: What `ablation.ablation_table` returns.
        axes: All axes of the grid, the seed among them.
    """
    names = [*variant_axes(axes), *([SEED] if SEED in axes else [])]
    points = pd.MultiIndex.from_product([table[name].unique() for name in names], names=names)
    scored = table.set_index(names).reindex(points).reset_index()
    scored["status"] = scored["status"].fillna("missing")
    rows = scored[variant_axes(axes)].to_dict("records")
    scored["variant"] = [variant_of({str(axis): value for axis, value in row.items()}) for row in rows]
    failed = scored["status"] != FINISHED
    slowest = table["epochs_to_level"].max()
    measured = {name: outcome for name, outcome in FRESH_OUTCOMES.items() if name in table}
    for name, outcome in {**OUTCOMES, **measured}.items():
        scored.loc[failed, name] = slowest if np.isinf(outcome.failed) else outcome.failed
    return scored


def margins(report: Report) -> dict[str, float]:
    """Return the difference that is too small to matter, for each outcome."""
    return {name: report.margin_epochs if name == "epochs_to_level" else report.margin for name in OUTCOMES}


def judge(differences: np.ndarray, margin: np.ndarray, more_is_better: np.ndarray) -> dict[str, np.ndarray]:
    """Return estimates, adjusted p-values and verdicts of one family of comparisons.

    Args:
        differences: Paired differences (..., comparisons, seeds).
        margin: The margin of each comparison.
        more_is_better: Whether each comparison's outcome improves as it grows.

    Returns:
        Columns of effects.csv, each of shape (..., comparisons).
    """
    estimated = inference.estimate(differences)
    p = inference.p_difference(estimated)
    p_holm, p_equal = inference.holm(p), inference.holm(inference.p_equivalence(estimated, margin))
    return {
        "seeds": estimated.seeds,
        "difference": estimated.mean,
        "deviation": estimated.deviation,
        "low": estimated.low,
        "high": estimated.high,
        "p": p,
        "p_holm": p_holm,
        "p_equal": p_equal,
        "verdict": inference.verdicts(estimated.mean, p_holm, p_equal, more_is_better),
    }


def _judged(table: pd.DataFrame, seed_means: np.ndarray) -> pd.DataFrame:
    better = table["outcome"].map(lambda name: OUTCOMES[name].more_is_better).to_numpy(bool)
    table = table.assign(**judge(seed_means, table["margin"].to_numpy(float), better))
    unequal = (table["kind"] == INTERACTION) & table["verdict"].isin([inference.BETTER, inference.WORSE])
    table.loc[unequal, "verdict"] = DEPENDS
    table.loc[table["lost"] > 0, "verdict"] = inference.INCONCLUSIVE  # The other pairs flatter a variant that failed.
    return table


def _with_power(table: pd.DataFrame) -> pd.DataFrame:
    strictest = inference.LEVEL / len(table)
    spreads = list(zip(table["deviation"].tolist(), table["seeds"].tolist(), table["margin"].tolist(), strict=True))
    return table.assign(
        detectable=[inference.detectable_difference(deviation, seeds, strictest) for deviation, seeds, _ in spreads],
        seeds_needed=[inference.seeds_to_detect(margin, deviation, strictest) for deviation, _, margin in spreads],
    )


def effects(scored: pd.DataFrame, axes: Sequence[str], report: Report) -> pd.DataFrame:
    """Return one row for each comparison and outcome; `scored` is what `score_failures` returns."""
    levels = levels_of(scored, axes)
    grids = {name: on_grid(scored[name].to_numpy(np.float64), levels) for name in OUTCOMES}
    rows, seed_means = [], []
    for comparison, name in itertools.product(comparisons(levels), OUTCOMES):
        differences = contrast(grids[name], comparison, len(levels))
        lost = int(np.isnan(differences).sum())
        rows.append({**comparison.columns, "outcome": name, "pairs": differences.size, "lost": lost})
        seed_means.append(differences.mean(0))
    if not rows:
        return pd.DataFrame(columns=["kind", "outcome"])
    table = pd.DataFrame(rows)
    table["margin"] = table["outcome"].map(margins(report))
    return _with_power(_judged(table, np.stack(seed_means)))


def _pair_rows(scored: pd.DataFrame, axes: Sequence[str], comparison: Comparison, name: str) -> list[dict[str, object]]:
    levels = levels_of(scored, axes)
    others = [axis for axis in axes if axis != comparison.axis]
    differences = contrast(on_grid(scored[name].to_numpy(np.float64), levels), comparison, len(levels))
    runs = on_grid(np.arange(len(scored)), levels)
    baselines = np.take(runs, [0], comparison.steps[0][0]).ravel()
    rows = []
    for run, difference in zip(baselines, differences.ravel(), strict=True):
        point = scored.loc[run, others].to_dict()
        pair = ", ".join(f"{axis} {value}" for axis, value in point.items())
        row = {**comparison.columns, "outcome": name, "pair": pair, "seed": point.get(SEED, "")}
        rows.append({**row, "difference": difference})
    return rows


def pairs(scored: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """Return one row for each pair behind a main effect on an outcome: what its runs share, and their difference."""
    main = [comparison for comparison in comparisons(levels_of(scored, axes)) if comparison.kind == MAIN]
    rows = [_pair_rows(scored, axes, comparison, name) for comparison, name in itertools.product(main, OUTCOMES)]
    return pd.DataFrame(list(itertools.chain.from_iterable(rows)))
