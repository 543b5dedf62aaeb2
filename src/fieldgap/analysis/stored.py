"""The files of a run, read only if they have the form that the stages give them.

A copy may have been cut off, or edited by hand, and a report over half a table would be wrong without a sign of it.
Engines check the bytes as well; whoever runs stage report by hand has only this.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fieldgap.base.cells import plain
from fieldgap.base.errors import InputError
from fieldgap.base.files import read_json

SPLITS = ("train", "val", "test")
STATUSES = ("finished", "diverged")
_CURVES = ("loss", "iou", "accuracy", "background_iou")
TABLES = {
    "history": ("epoch", "lr", *(f"{split}_{name}" for split in SPLITS[:2] for name in _CURVES), "running_loss"),
    "steps": ("step", "epoch", "lr", "loss"),
    "scenes": ("split", "scene", "truth", "predicted", "pixels"),
    "calibration": ("split", "bin", "pixels", "confidence", "right"),
}
_TEXT = ("split", "scene", "truth", "predicted")
_METRICS = (
    *(f"{split}_{name}" for split in SPLITS for name in ("iou", "background_iou", "accuracy")),
    *(f"{best}gap_{split}_iou" for best in ("", "best_") for split in SPLITS[1:]),
    *("test_boundary_iou", "test_calibration_error", "epoch", "best_epoch"),
)
_STATUS = {"key": str, "machine": dict, "packages": dict, "epoch": int, "step": int}


def damaged(path: Path, why: object) -> InputError:
    """Return the error for a file that is not as a stage wrote it."""
    return InputError(f"{path}: is damaged ({why}); run the stage that makes it again")


def read_table(path: Path) -> pd.DataFrame:
    """Return a table of a run, text where text belongs and finite numbers elsewhere. It may have no rows.

    Raises:
        InputError: It is missing, cut off, or has other columns or values.
    """
    try:
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            raise ValueError("its last line is cut off")
        table = pd.read_csv(io.BytesIO(content), converters=dict.fromkeys(_TEXT, plain), na_filter=False)
    except (OSError, ValueError) as error:
        raise damaged(path, " ".join(str(error).split())) from None
    columns = TABLES[path.stem]
    if missing := [name for name in columns if name not in table]:
        raise damaged(path, f"it lacks column {missing[0]}")
    numbers = [name for name in columns if name not in _TEXT] if len(table) else []
    if wrong := [name for name in numbers if table[name].dtype.kind not in "iuf" or not np.isfinite(table[name]).all()]:
        raise damaged(path, f"column {wrong[0]} has something other than numbers")
    return table


def read_metrics(path: Path, tree: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    """Return how a run ended and its metrics, with NaN for null.

    Args:
        path: The file, for messages.
        tree: Its content with nested keys joined by underscores.

    Raises:
        InputError: A metric is missing or no number.
    """
    metrics = {name: math.nan if value is None else value for name, value in tree.items() if name != "status"}
    if tree.get("status") not in STATUSES:
        raise damaged(path, f"its status is none of {', '.join(STATUSES)}")
    fresh = ("gap_fresh_iou",) if "fresh_iou" in metrics else ()
    if missing := [name for name in (*_METRICS, *fresh) if name not in metrics]:
        raise damaged(path, f"it lacks {missing[0]}")
    if wrong := [name for name, value in metrics.items() if type(value) not in (int, float) or abs(value) > 1e300]:
        raise damaged(path, f"{wrong[0]} is no number")
    return tree["status"], metrics


def read_status(path: Path) -> dict[str, Any]:
    """Return what a run's status.json says.

    Raises:
        InputError: It is missing, or a value is of another kind.
    """
    status = read_json(path)
    if wrong := [name for name, kind in _STATUS.items() if type(status.get(name)) is not kind]:
        raise damaged(path, f"{wrong[0]} is missing or has another form")
    return status


def check_scenes(path: Path, scenes: pd.DataFrame, metrics: Mapping[str, float]) -> None:
    """Check that the pixel counts are complete: every pair of classes of each scene, and each split's accuracy.

    Raises:
        InputError: Rows are missing or in another order, or the counts are not those that were scored.
    """
    classes = scenes["truth"].unique()
    pairs = list(itertools.product(classes, classes)) * (len(scenes) // max(len(classes) ** 2, 1))
    if list(zip(scenes["truth"], scenes["predicted"], strict=True)) != pairs:
        raise damaged(path, "a scene lacks rows")
    right = scenes["pixels"].where(scenes["truth"] == scenes["predicted"], 0).groupby(scenes["split"]).sum()
    total = scenes["pixels"].groupby(scenes["split"]).sum()
    for split in (name for name in (*SPLITS, "fresh") if f"{name}_accuracy" in metrics):
        accuracy = right.get(split, 0) / total[split] if total.get(split, 0) else 1.0
        if not math.isclose(accuracy, metrics[f"{split}_accuracy"], rel_tol=1e-9):
            raise damaged(path, f"its {split} scenes do not give the accuracy in metrics.json")


def check_calibration(path: Path, calibration: pd.DataFrame) -> None:
    """Check that each split has the same bins, counted from 0.

    Raises:
        InputError: Rows are missing or in another order.
    """
    splits, bins = calibration["split"].unique(), calibration["bin"].nunique()
    if "test" not in splits or calibration["bin"].tolist() != [*range(bins)] * len(splits):
        raise damaged(path, "a split lacks bins")
