"""How much depends on which test scenes there happened to be: a bootstrap of whole scenes with the runs fixed.

Pixels and tiles of one scene resemble each other, so whole scenes are drawn, with replacement and the same for all
runs. This uncertainty is not contained in the intervals over seeds; its interval is reported beside theirs. With few
scenes, a percentile interval is somewhat too narrow.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fieldgap.analysis.confusions import confusions
from fieldgap.analysis.contrasts import comparisons, contrast, levels_of, on_grid
from fieldgap.analysis.inference import LEVEL
from fieldgap.base.scores import class_ious

if TYPE_CHECKING:
    from fieldgap.analysis.runs import EvaluatedRun

DRAWS = 2000
BOUNDS = [100 * LEVEL / 2, 100 * (1 - LEVEL / 2)]


@functools.cache
def scene_draws(scenes: int) -> np.ndarray:
    """Return how often each scene comes up in each draw, (DRAWS, scenes); the same in every report."""
    return np.random.default_rng(0).multinomial(scenes, np.full(scenes, 1 / scenes), DRAWS).astype(np.float64)


def resampled_ious(counts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the IoU of each class in each draw, (DRAWS, C), from the counts (C, C) of each scene."""
    return class_ious(np.tensordot(scene_draws(len(counts)), np.stack(list(counts.values())), 1))


def same_scenes(counts: Sequence[Mapping[str, np.ndarray]]) -> bool:
    """Return whether all runs have the same scenes; where they have not, as across folds, draws do not match."""
    return len({tuple(scenes) for scenes in counts}) <= 1


def resampled_scores(runs: Sequence[EvaluatedRun], scored: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the test scores of each run on each draw of scenes.

    Args:
        runs: The runs of the grid.
        scored: The table that `effects.score_failures` makes of them.

    Returns:
        For each outcome on test, an array (DRAWS, rows of `scored`), with failed runs scored as in `scored`. It is NaN
        throughout if the runs have different test scenes.
    """
    by_name = {run.name: run for run in runs if run.finished}
    tested = {name: confusions(run.scenes, "test") for name, run in by_name.items()}
    size = (DRAWS, len(scored))
    scores = {"test_iou": np.zeros(size), "test_background_iou": np.zeros(size), "gap_test_iou": np.full(size, np.nan)}
    if not same_scenes(list(tested.values())):
        return {name: np.full(size, np.nan) for name in scores}
    for row, name in enumerate(scored["run"]):
        if run := by_name.get(name):
            ious = resampled_ious(tested[name])
            scores["test_background_iou"][:, row] = ious[:, 0]
            scores["test_iou"][:, row] = ious[:, 1:].mean(1)
            scores["gap_test_iou"][:, row] = run.metrics["train_iou"] - scores["test_iou"][:, row]
    return scores


def scene_intervals(scores: Mapping[str, np.ndarray], scored: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """Return the bounds scenes_low and scenes_high of the mean difference, for each comparison and resampled outcome.

    Args:
        scores: What `resampled_scores` returns.
        scored: The table that `effects.score_failures` returns.
        axes: All axes of the grid.
    """
    levels = levels_of(scored, axes)
    rows = []
    for comparison in comparisons(levels):
        for outcome, values in scores.items():
            means = contrast(on_grid(values, levels), comparison, len(levels)).mean((-1, -2))
            low, high = np.percentile(means, BOUNDS)
            rows.append({**comparison.columns, "outcome": outcome, "scenes_low": low, "scenes_high": high})
    return pd.DataFrame(rows)
