"""How much hangs on the test scenes that happened to be there: a bootstrap of whole scenes, the trained runs fixed.

Pixels and tiles of one scene resemble each other, so whole scenes are drawn, with replacement, the same for all runs.
This is another question than that of seeds, and its interval stands beside theirs, not within it. With few scenes a
percentile interval is somewhat too narrow.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fieldgap.analysis.ablation import FINISHED
from fieldgap.analysis.effects import contrast, levels_of, on_grid, questions
from fieldgap.analysis.inference import LEVEL
from fieldgap.base.scores import class_ious

if TYPE_CHECKING:
    from fieldgap.analysis.runs import Finished

DRAWS = 2000
BOUNDS = [100 * LEVEL / 2, 100 * (1 - LEVEL / 2)]


@functools.cache
def draws(scenes: int) -> np.ndarray:
    """-> (DRAWS, scenes): how often each scene comes up; the same in each report."""
    return np.random.default_rng(0).multinomial(scenes, np.full(scenes, 1 / scenes), DRAWS).astype(np.float64)


def confusions(scenes: pd.DataFrame, split: str) -> dict[str, np.ndarray]:
    """A run's scenes.csv -> scene -> (C, C) pixel counts, truth by prediction, of one split."""
    rows = scenes[scenes["split"] == split]
    classes = rows["truth"].nunique()
    return {
        str(scene): group["pixels"].to_numpy(np.float64).reshape(classes, classes)
        for scene, group in rows.groupby("scene", sort=False)
    }


def drawn_scores(runs: Sequence[Finished], counts: pd.DataFrame) -> dict[str, np.ndarray]:
    """-> outcome -> (DRAWS, rows of counted()): each run's score on each draw of scenes, failed ones as they count."""
    by_name = {run.name: run for run in runs if run.status == FINISHED}
    tested = {name: confusions(run.scenes, "test") for name, run in by_name.items()}
    size = (DRAWS, len(counts))
    found = {"test_iou": np.zeros(size), "test_background_iou": np.zeros(size), "gap_test_iou": np.full(size, np.nan)}
    for number, name in enumerate(counts["run"]):
        if run := by_name.get(name):
            scenes = np.stack(list(tested[name].values()))
            ious = class_ious(np.tensordot(draws(len(scenes)), scenes, 1))
            found["test_background_iou"][:, number] = ious[:, 0]
            found["test_iou"][:, number] = ious[:, 1:].mean(1)
            found["gap_test_iou"][:, number] = run.metrics["train_iou"] - found["test_iou"][:, number]
    if len({tuple(each) for each in tested.values()}) > 1:  # Runs of other scenes do not see the same draws.
        return {name: np.full(size, np.nan) for name in found}
    return found


def scene_intervals(scores: Mapping[str, np.ndarray], counts: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """-> a row a question and outcome, with the bounds scenes_low and scenes_high of the mean paired difference."""
    levels = levels_of(counts, axes)
    rows = []
    for question in questions(levels):
        for outcome, values in scores.items():
            means = contrast(on_grid(values, levels), question, len(levels)).mean((-1, -2))
            low, high = np.percentile(means, BOUNDS)
            rows.append({**question.row, "outcome": outcome, "scenes_low": low, "scenes_high": high})
    return pd.DataFrame(rows)
