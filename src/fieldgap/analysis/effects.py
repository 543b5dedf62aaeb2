"""What each axis of a grid does to each outcome, pair by pair: pure functions of arrays and of compare.ablation().

A level is compared with the first one of its axis, which is the one to beat. An effect pairs runs that differ in that
axis alone, over all other axes and seeds; pairs of one seed are averaged, and the seeds are tested (see inference.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fieldgap.analysis.ablation import FINISHED, SEED, variant_axes, variant_of
from fieldgap.analysis.inference import (
    BETTER,
    LEVEL,
    OPEN,
    WORSE,
    detectable,
    holm,
    p_difference,
    p_equivalence,
    seeds_to_detect,
    student,
    verdicts,
)

if TYPE_CHECKING:
    from fieldgap.settings.sections import Report

MAIN, INTERACTION = "main", "interaction"
DEPENDS = "depends"  # What stands for better and worse where two axes interact: neither is.


@dataclass(frozen=True)
class Outcome:
    """What an effect is measured on: its name in words, whether more is better, and what a failed run counts as.

    A failed run has no gap: nan. Then its seed has none for the comparison either, which stays open whatever the rest
    says.
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
FRESH = {  # Measured of drawn scenes alone, to look behind the answers: no part of the family of tests.
    "fresh_iou": Outcome("IoU on fresh scenes", True, 0.0),
    "gap_fresh_iou": Outcome("population gap", False, np.nan),
}


@dataclass(frozen=True)
class Question:
    """One comparison: a main effect of an axis, or the interaction of two. `steps`: (axis number, level number)."""

    kind: str
    axis: str
    first: str
    second: str
    steps: tuple[tuple[int, int], ...]

    @property
    def row(self) -> dict[str, str]:
        """-> the columns that name the question in a table."""
        effect = f"{self.axis}: {self.second} against {self.first}"
        return {"kind": self.kind, "axis": self.axis, "from": self.first, "to": self.second, "effect": effect}


def levels_of(table: pd.DataFrame, axes: Sequence[str]) -> dict[str, list[Any]]:
    """-> the levels of each axis but the seed, in the order of the grid."""
    return {axis: list(table[axis].unique()) for axis in variant_axes(axes)}


def questions(levels: Mapping[str, Sequence[object]]) -> list[Question]:
    """-> every level against the first of its axis, then every two-way interaction of such steps."""
    names = list(levels)
    steps = [(i, j) for i, axis in enumerate(names) for j in range(1, len(levels[axis]))]
    found = [Question(MAIN, names[i], str(levels[names[i]][0]), str(levels[names[i]][j]), ((i, j),)) for i, j in steps]
    for one, other in itertools.combinations(steps, 2):
        if (i := one[0]) != (k := other[0]):
            ends = [f"{levels[names[i]][a]}, {levels[names[k]][b]}" for a, b in ((0, 0), (one[1], other[1]))]
            found.append(Question(INTERACTION, f"{names[i]} x {names[k]}", ends[0], ends[1], (one, other)))
    return found


def counted(table: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """-> a row for each point of the grid, in its order, with the outcomes as they count.

    A run that diverged or is missing counts as the worst that its outcome can be: an IoU of 0, the level never reached.
    """
    names = [*variant_axes(axes), *([SEED] if SEED in axes else [])]
    points = pd.MultiIndex.from_product([table[name].unique() for name in names], names=names)
    whole = table.set_index(names).reindex(points).reset_index()
    whole["status"] = whole["status"].fillna("missing")
    rows = whole[variant_axes(axes)].to_dict("records")
    whole["variant"] = [variant_of({str(axis): value for axis, value in row.items()}) for row in rows]
    failed = whole["status"] != FINISHED
    slowest = table["epochs_to_level"].max()
    for name, outcome in {**OUTCOMES, **{name: FRESH[name] for name in FRESH if name in table}}.items():
        whole.loc[failed, name] = slowest if np.isinf(outcome.failed) else outcome.failed
    return whole


def on_grid(values: np.ndarray, levels: Mapping[str, Sequence[object]]) -> np.ndarray:
    """(..., runs) in the order of counted() -> (..., levels of each axis, seeds)."""
    return values.reshape(*values.shape[:-1], *(len(each) for each in levels.values()), -1)


def contrast(grid: np.ndarray, question: Question, axes: int) -> np.ndarray:
    """(..., levels of each of `axes` axes, seeds) -> (..., pairs a seed, seeds): the differences of a question."""
    for axis, level in question.steps:
        dimension = axis - axes - 1
        grid = np.take(grid, [level], dimension) - np.take(grid, [0], dimension)
    return grid.reshape(*grid.shape[: grid.ndim - axes - 1], -1, grid.shape[-1])


def margins(report: Report) -> dict[str, float]:
    """-> for each outcome the difference that is too small to matter."""
    return {name: report.margin_epochs if name == "epochs_to_level" else report.margin for name in OUTCOMES}


def judge(differences: np.ndarray, margin: np.ndarray, more_is_better: np.ndarray) -> dict[str, np.ndarray]:
    """(..., questions, seeds) -> (..., questions) each: estimates, adjusted p-values and verdicts of one family."""
    found = student(differences)
    p, p_equal = p_difference(found), p_equivalence(found, margin)
    adjusted, equal = holm(p), holm(p_equal)
    return {
        "seeds": found.seeds,
        "difference": found.mean,
        "deviation": found.deviation,
        "low": found.low,
        "high": found.high,
        "p": p,
        "p_holm": adjusted,
        "p_equal": equal,
        "verdict": verdicts(found.mean, adjusted, equal, more_is_better),
    }


def effects(counts: pd.DataFrame, axes: Sequence[str], report: Report) -> pd.DataFrame:
    """counted() -> one row for each question and outcome; all of them are one family of tests.

    An interaction is how much more the first axis' step changes the outcome after the second axis' step than before.
    """
    levels = levels_of(counts, axes)
    grids = {name: on_grid(counts[name].to_numpy(np.float64), levels) for name in OUTCOMES}
    rows, seed_means = [], []
    if not (asked := questions(levels)):
        return pd.DataFrame(columns=["kind", "outcome"])
    for question, name in itertools.product(asked, OUTCOMES):
        pairs = contrast(grids[name], question, len(levels))
        seed_means.append(pairs.mean(0))
        rows.append({**question.row, "outcome": name, "pairs": pairs.size, "lost": int(np.isnan(pairs).sum())})
    table = pd.DataFrame(rows)
    table["margin"] = table["outcome"].map(margins(report))
    better = table["outcome"].map(lambda name: OUTCOMES[name].more_is_better).to_numpy(bool)
    found = judge(np.stack(seed_means), table["margin"].to_numpy(float), better)
    table = table.assign(**found)
    unequal = (table["kind"] == INTERACTION) & table["verdict"].isin([BETTER, WORSE])
    table.loc[unequal, "verdict"] = DEPENDS
    table.loc[table["lost"] > 0, "verdict"] = OPEN  # What is left is the better part of a variant that failed.
    strictest = LEVEL / len(table)
    spreads = list(zip(table["deviation"].tolist(), table["seeds"].tolist(), table["margin"].tolist(), strict=True))
    return table.assign(
        detectable=[detectable(deviation, seeds, strictest) for deviation, seeds, _ in spreads],
        seeds_needed=[seeds_to_detect(margin, deviation, strictest) for deviation, _, margin in spreads],
    )


def pairs(counts: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """counted() -> one row for each pair of each main effect and outcome: its name, its seed and its difference."""
    levels = levels_of(counts, axes)
    numbers = on_grid(np.arange(len(counts)), levels)
    rows = []
    for question, name in itertools.product(questions(levels), OUTCOMES):
        if question.kind == MAIN:
            others = [axis for axis in axes if axis != question.axis]
            found = contrast(on_grid(counts[name].to_numpy(np.float64), levels), question, len(levels))
            firsts = np.take(numbers, [0], question.steps[0][0]).ravel()
            for number, difference in zip(firsts, found.ravel(), strict=True):
                point = counts.loc[number, others].to_dict()
                says = ", ".join(f"{axis} {value}" for axis, value in point.items())
                row = {**question.row, "outcome": name, "pair": says, "seed": point.get(SEED, "")}
                rows.append({**row, "difference": difference})
    return pd.DataFrame(rows)
