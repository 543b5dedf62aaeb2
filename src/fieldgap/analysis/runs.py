"""The evaluated runs of a grid, read back from their folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fieldgap.analysis import stored
from fieldgap.base.errors import InputError
from fieldgap.base.files import read_json
from fieldgap.base.names import EVALUATED, TRAINED

FILES = (*TRAINED, *EVALUATED)
SEED = "seed"
FINISHED = "finished"


def variant_of(axes: Mapping[str, object]) -> str:
    """Return the axis values that the seeds of a variant share, such as "init orthogonal, warmup_epochs 3"."""
    return ", ".join(f"{axis} {value}" for axis, value in axes.items() if axis != SEED) or "all runs"


@dataclass(frozen=True)
class EvaluatedRun:
    """One run of a grid: its settings, how its training ended, and everything that was measured.

    Attributes:
        name: The run's name, which is also that of its folder.
        folder: Where its files are.
        axes: Its value on each axis, in the order of the grid.
        config: Every resolved parameter.
        status: "finished" or "diverged".
        history: One row per epoch.
        steps: One row per update.
        scenes: Pixel counts by split, scene, true class and predicted class.
        calibration: One row per split and bin of confidence.
        metrics: metrics.json with nested keys joined by underscores; NaN where a value was not finite.
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

    @property
    def variant(self) -> str:
        """The run's axis values without the seed, in words."""
        return variant_of(self.axes)

    @property
    def finished(self) -> bool:
        """Whether training reached its end without diverging."""
        return self.status == FINISHED


def flatten(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a nested mapping: {"gap": {"val": {"iou": 0.1}}} gives ("gap_val_iou", 0.1)."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, (*path, key))
        else:
            yield "_".join((*path, key)), value


def shared_items(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the entries that are the same in all tables, such as the configurations of runs."""
    first, *others = tables
    return {key: value for key, value in first.items() if all(key in other and other[key] == value for other in others)}


def read_run(folder: Path, axes: dict[str, Any]) -> EvaluatedRun:
    """Return the run in a folder.

    Raises:
        InputError: A file is damaged, or the run was trained with another axis value than the grid states.
    """
    config = read_json(folder / "config.json")
    if wrong := [key for key, value in axes.items() if config.get(key) != value]:
        raise InputError(
            f"{folder}: was trained with {wrong[0]} {config.get(wrong[0])!r}, not {axes[wrong[0]]!r}; train it again"
        )
    if type(config.get("epochs")) is not int:
        raise stored.damaged(folder / "config.json", "epochs is no number")
    tables = {name: stored.read_table(folder / f"{name}.csv") for name in stored.TABLES}
    ended = stored.read_status(folder / "status.json")
    for name, count in (("history", "epoch"), ("steps", "step")):
        if ended[count] != len(tables[name]):
            raise stored.damaged(folder / f"{name}.csv", f"it has not as many rows as status.json says under {count}")
    status, metrics = stored.read_metrics(folder / "metrics.json", dict(flatten(read_json(folder / "metrics.json"))))
    stored.check_scenes(folder / "scenes.csv", tables["scenes"], metrics)
    stored.check_calibration(folder / "calibration.csv", tables["calibration"])
    return EvaluatedRun(folder.name, folder, axes, config, status, metrics=metrics, **tables)


def read_runs(folder: Path, grid: Mapping[str, dict[str, Any]]) -> list[EvaluatedRun]:
    """Return the runs of a grid, in its order.

    Raises:
        InputError: Files are missing; the message names the first missing file of every such run.
    """
    missing = {run: [file for file in FILES if not (folder / run / file).is_file()] for run in grid}
    if incomplete := [str(folder / run / files[0]) for run, files in missing.items() if files]:
        runs = "this run" if len(incomplete) == 1 else "these runs"
        raise InputError(f"{'; '.join(incomplete)}: missing; train and evaluate {runs} first")
    return [read_run(folder / name, axes) for name, axes in grid.items()]
