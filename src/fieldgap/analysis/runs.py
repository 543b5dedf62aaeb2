"""The finished runs of a grid, read back from their folders."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fieldgap.base.errors import InputError
from fieldgap.base.files import read_json
from fieldgap.base.names import EVALUATED, TRAINED

FILES = (*TRAINED, *EVALUATED)


@dataclass(frozen=True)
class Finished:
    """A run: its axis values in the grid's order, its configuration, how it ended, its tables, its metrics.

    history has a row an epoch, steps a row an update; scenes has pixel counts, truth by prediction, a split and scene;
    calibration has a row a split and bin of confidence. Metrics that were not finite are NaN.
    """

    name: str
    folder: Path
    axes: dict[str, Any]
    config: dict[str, Any]
    status: str
    history: pd.DataFrame
    steps: pd.DataFrame
    scenes: pd.DataFrame
    calibration: pd.DataFrame
    metrics: dict[str, float]


def leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Nested keys joined by _: {"gap": {"val": {"iou": 0.1}}} -> ("gap_val_iou", 0.1)."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*path, key))
        else:
            yield "_".join((*path, key)), value


def read_run(folder: Path, axes: dict[str, Any]) -> Finished:
    """-> one run. Raises InputError when it was trained with another value of an axis than the grid names."""
    config = read_json(folder / "config.json")
    if wrong := [key for key, value in axes.items() if config.get(key) != value]:
        raise InputError(
            f"{folder}: was trained with {wrong[0]} {config.get(wrong[0])!r}, not {axes[wrong[0]]!r}; train it again"
        )
    tables = {name: pd.read_csv(folder / f"{name}.csv") for name in ("history", "steps", "scenes", "calibration")}
    metrics = dict(leaves(read_json(folder / "metrics.json")))
    status = metrics.pop("status")
    metrics = {name: math.nan if value is None else value for name, value in metrics.items()}
    return Finished(folder.name, folder, axes, config, status, metrics=metrics, **tables)


def read_runs(folder: Path, grid: Mapping[str, dict[str, Any]]) -> list[Finished]:
    """-> the runs that the grid names, in its order. Raises InputError that lists every run without all its files."""
    missing = {run: [file for file in FILES if not (folder / run / file).is_file()] for run in grid}
    if lost := [str(folder / run / files[0]) for run, files in missing.items() if files]:
        raise InputError(
            f"{'; '.join(lost)}: missing; train and evaluate {'this run' if len(lost) == 1 else 'these runs'} first"
        )
    return [read_run(folder / name, axes) for name, axes in grid.items()]
