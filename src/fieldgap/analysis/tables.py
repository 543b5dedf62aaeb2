"""All tables that a report is made of, from the runs of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fieldgap.analysis import ablation, effects, resample
from fieldgap.analysis.ablation import FINISHED, variant_of
from fieldgap.analysis.inference import student
from fieldgap.base.scores import class_ious, ratio

if TYPE_CHECKING:
    from fieldgap.analysis.runs import Finished
    from fieldgap.settings.sections import Report

KEYS = ["kind", "axis", "from", "to", "effect", "outcome"]


@dataclass(frozen=True)
class Analysis:
    """table: a row a run as measured; counts: the same as it counts in comparisons; finished: those not diverged;
    effects: a row an effect; pairs: a row a pair behind a main effect; gap: a row a run and epoch; level: the
    validation IoU to reach."""

    axes: list[str]
    runs: list[Finished]
    finished: list[Finished]
    table: pd.DataFrame
    counts: pd.DataFrame
    effects: pd.DataFrame
    pairs: pd.DataFrame
    gap: pd.DataFrame
    level: float


def analyse(runs: Sequence[Finished], report: Report) -> Analysis:
    """-> the tables; the runs are those of the whole grid, in its order."""
    axes = list(runs[0].axes)
    table = ablation.ablation(runs, report)
    counts = effects.counted(table, axes)
    found = effects.effects(counts, axes, report)
    if len(found):
        bounds = resample.scene_intervals(resample.drawn_scores(runs, counts), counts, axes)
        found = found.merge(bounds, how="left", on=KEYS)
    finished = [run for run in runs if run.status == FINISHED]
    level = ablation.level_to_reach(runs, report.reach)
    pairs = effects.pairs(counts, axes)
    return Analysis(axes, list(runs), finished, table, counts, found, pairs, ablation.gap_table(runs), level)


def steps_of(runs: Sequence[Finished]) -> pd.DataFrame:
    """-> the rate of each step, one run a variant: a rate does not depend on the seed."""
    longest: dict[str, Finished] = {}
    for run in runs:
        variant = variant_of(run.axes)
        if variant not in longest or len(run.steps) > len(longest[variant].steps):  # A diverged run stops early.
            longest[variant] = run
    return pd.concat([run.steps.assign(variant=name) for name, run in longest.items()], ignore_index=True)


def calibration_bins(runs: Sequence[Finished]) -> pd.DataFrame:
    """-> the rows of all runs' calibration.csv with their variant."""
    return pd.concat([run.calibration.assign(variant=variant_of(run.axes)) for run in runs], ignore_index=True)


def scene_scores(runs: Sequence[Finished]) -> pd.DataFrame:
    """-> scene, variant, run, iou: the mean IoU over the classes after the first, of each test scene and run."""
    rows = [
        {"scene": scene, "variant": variant_of(run.axes), "run": run.name}
        | {"iou": float(class_ious(counts)[1:].mean())}
        for run in runs
        for scene, counts in resample.confusions(run.scenes, "test").items()
    ]
    return pd.DataFrame(rows)


def classes_of(runs: Sequence[Finished]) -> list[str]:
    return list(runs[0].scenes["truth"].unique())


def class_scores(runs: Sequence[Finished]) -> pd.DataFrame:
    """-> variant, class, iou, precision, recall, share: on all test scenes, counts summed over scenes and seeds.

    Precision of a class that is never predicted, and recall of one that is not there, are nan.
    """
    rows = []
    for variant in dict.fromkeys(variant_of(run.axes) for run in runs):
        chosen = [run for run in runs if variant_of(run.axes) == variant]
        counts = np.sum([each for run in chosen for each in resample.confusions(run.scenes, "test").values()], 0)
        for i, name in enumerate(classes_of(runs)):
            found, there = counts[:, i].sum(), counts[i].sum()
            row = {"variant": variant, "class": name, "iou": float(class_ious(counts)[i])}
            row |= {"precision": ratio(counts[i, i], found, np.nan), "recall": ratio(counts[i, i], there, np.nan)}
            rows.append({**row, "share": there / counts.sum()})
    return pd.DataFrame(rows)


def mean_and_bounds(values: pd.Series) -> dict[str, float]:
    """(seeds,) -> mean, low, high of its interval."""
    found = student(values.to_numpy(np.float64))
    return {"mean": float(found.mean), "low": float(found.low), "high": float(found.high)}


def naive_gaps(gap: pd.DataFrame) -> dict[str, float]:
    """-> means over runs: the true and the naive gap of the loss in the first epoch and in each run's last one."""
    ends = {"first": gap.groupby("run", sort=False).first(), "last": gap.groupby("run", sort=False).last()}
    return {
        f"{when}_{kind}": float(rows[kind].mean()) for when, rows in ends.items() for kind in ("loss_gap", "naive_gap")
    }
