"""Everything that a report is made of, from the runs of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from fieldgap.analysis import effects, resample
from fieldgap.analysis.ablation import ablation_table, gap_table
from fieldgap.analysis.diagnosis import level_to_reach

if TYPE_CHECKING:
    from fieldgap.analysis.runs import EvaluatedRun
    from fieldgap.settings.sections import Report

KEYS = ["kind", "axis", "from", "to", "effect", "outcome"]


@dataclass(frozen=True)
class Analysis:
    """The runs of a grid and all tables made of them.

    Attributes:
        axes: All axes, the seed among them.
        runs: The runs, in the order of the grid.
        finished: Those that did not diverge.
        table: One row per run, as measured.
        scored: One row per run, with failures scored for comparisons.
        effects: One row per comparison and outcome.
        pairs: One row per pair of runs behind a main effect.
        gap: One row per run and epoch.
        level: The validation IoU whose epoch is compared.
    """

    axes: list[str]
    runs: list[EvaluatedRun]
    finished: list[EvaluatedRun]
    table: pd.DataFrame
    scored: pd.DataFrame
    effects: pd.DataFrame
    pairs: pd.DataFrame
    gap: pd.DataFrame
    level: float


def analyse(runs: Sequence[EvaluatedRun], report: Report) -> Analysis:
    """Return the analysis of all runs of a grid, given in its order."""
    axes = list(runs[0].axes)
    table = ablation_table(runs, report)
    scored = effects.score_failures(table, axes)
    judged = effects.effects(scored, axes, report)
    if len(judged):
        bounds = resample.scene_intervals(resample.resampled_scores(runs, scored), scored, axes)
        judged = judged.merge(bounds, how="left", on=KEYS)
    return Analysis(
        axes=axes,
        runs=list(runs),
        finished=[run for run in runs if run.finished],
        table=table,
        scored=scored,
        effects=judged,
        pairs=effects.pairs(scored, axes),
        gap=gap_table(runs),
        level=level_to_reach(runs, report.reach),
    )


def step_table(runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    """Return the learning rate at each step, from one run per variant: it does not depend on the seed."""
    longest: dict[str, EvaluatedRun] = {}
    for run in runs:
        if run.variant not in longest or len(run.steps) > len(longest[run.variant].steps):  # Diverged runs stop early.
            longest[run.variant] = run
    return pd.concat([run.steps.assign(variant=name) for name, run in longest.items()], ignore_index=True)


def calibration_table(runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    """Return the rows of all runs' calibration.csv with their variant."""
    return pd.concat([run.calibration.assign(variant=run.variant) for run in runs], ignore_index=True)
