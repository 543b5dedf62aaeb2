"""The comparisons that a grid allows: each level against the first of its axis, and how two axes interact.

The first level of an axis is its baseline. A comparison pairs runs that differ in its axis only, across all other axes
and seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fieldgap.analysis.runs import SEED

MAIN, INTERACTION = "main", "interaction"
Levels = Mapping[str, Sequence[object]]


@dataclass(frozen=True)
class Comparison:
    """A main effect of one axis, or the interaction of two.

    Attributes:
        kind: MAIN or INTERACTION.
        axis: The axis, or both joined by " x ".
        baseline: Its first level in words, or that of both axes.
        level: The level compared with it.
        steps: The number of the axis and of the level, once for each axis.
    """

    kind: str
    axis: str
    baseline: str
    level: str
    steps: tuple[tuple[int, int], ...]

    @property
    def columns(self) -> dict[str, str]:
        """The table columns that identify the comparison."""
        effect = f"{self.axis}: {self.level} against {self.baseline}"
        return {"kind": self.kind, "axis": self.axis, "from": self.baseline, "to": self.level, "effect": effect}


def variant_axes(axes: Sequence[str]) -> list[str]:
    """Return all axes but the seed."""
    return [axis for axis in axes if axis != SEED]


def levels_of(table: pd.DataFrame, axes: Sequence[str]) -> dict[str, list[Any]]:
    """Return the levels of each axis but the seed, in the order of the grid."""
    return {axis: list(table[axis].unique()) for axis in variant_axes(axes)}


def comparisons(levels: Levels) -> list[Comparison]:
    """Return each level against the first of its axis, then the interaction of every two such steps on two axes."""
    names = list(levels)
    values = [[str(level) for level in levels[name]] for name in names]
    steps = [(axis, level) for axis in range(len(names)) for level in range(1, len(values[axis]))]
    main = [Comparison(MAIN, names[i], values[i][0], values[i][j], ((i, j),)) for i, j in steps]
    interactions = [
        Comparison(
            INTERACTION,
            f"{names[i]} x {names[k]}",
            f"{values[i][0]}, {values[k][0]}",
            f"{values[i][j]}, {values[k][m]}",
            ((i, j), (k, m)),
        )
        for (i, j), (k, m) in itertools.combinations(steps, 2)
        if i != k
    ]
    return main + interactions


def on_grid(values: np.ndarray, levels: Levels) -> np.ndarray:
    """Return values (..., runs), in the order of `effects.score_failures`, as (..., levels of each axis, seeds)."""
    return values.reshape(*values.shape[:-1], *(len(axis) for axis in levels.values()), -1)


def contrast(grid: np.ndarray, comparison: Comparison, axes: int) -> np.ndarray:
    """Return the paired differences of a comparison.

    An interaction is how much more the step on the first axis changes the outcome after the step on the second axis
    than before it.

    Args:
        grid: Values (..., levels of each axis, seeds).
        comparison: Which levels to subtract.
        axes: The number of axes without the seed.

    Returns:
        Differences (..., pairs per seed, seeds).
    """
    for axis, level in comparison.steps:
        dimension = axis - axes - 1
        grid = np.take(grid, [level], dimension) - np.take(grid, [0], dimension)
    return grid.reshape(*grid.shape[: grid.ndim - axes - 1], -1, grid.shape[-1])
