"""The finished runs of a grid, read back from their folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fieldgap.errors import InputError
from fieldgap.files import read_json

FILES = (
    "config.json",
    "history.csv",
    "steps.csv",
    "weights.safetensors",
    "best.safetensors",
    "status.json",
    "metrics.json",
)


@dataclass(frozen=True)
class Finished:
    """A run: its axis values in the grid's order, its configuration, its rows of epochs and steps, its metrics."""

    name: str
    folder: Path
    axes: dict[str, Any]
    config: dict[str, Any]
    history: pd.DataFrame
    steps: pd.DataFrame
    metrics: dict[str, float]


def leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Nested keys joined by _: {"gap": {"val": {"iou": 0.1}}} -> ("gap_val_iou", 0.1)."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*path, key))
        else:
            yield "_".join((*path, key)), value


def read_run(folder: Path, axes: dict[str, Any]) -> Finished:
    """-> one run. Raises InputError when a file is missing, or holds another value of an axis than the grid names."""
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise InputError(f"{folder / missing[0]}: missing; train and evaluate this run first")
    config = read_json(folder / "config.json")
    if wrong := [key for key, value in axes.items() if config.get(key) != value]:
        raise InputError(
            f"{folder}: was trained with {wrong[0]} {config.get(wrong[0])!r}, not {axes[wrong[0]]!r}; train it again"
        )
    metrics = dict(leaves(read_json(folder / "metrics.json")))
    del metrics["status"]
    return Finished(
        name=folder.name,
        folder=folder,
        axes=axes,
        config=config,
        history=pd.read_csv(folder / "history.csv"),
        steps=pd.read_csv(folder / "steps.csv"),
        metrics=metrics,
    )


def read_runs(folder: Path, grid: Mapping[str, dict[str, Any]]) -> list[Finished]:
    """-> the runs that the grid names, in its order. Raises InputError."""
    return [read_run(folder / name, axes) for name, axes in grid.items()]
