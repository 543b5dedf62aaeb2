"""Pixel counts of truth by prediction, and the scores per class and per scene that follow from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fieldgap.base.scores import class_ious, ratio

if TYPE_CHECKING:
    from fieldgap.analysis.runs import EvaluatedRun


def confusions(scenes: pd.DataFrame, split: str) -> dict[str, np.ndarray]:
    """Return the pixel counts (C, C) of each scene of a split, truth by prediction, from the rows of scenes.csv."""
    rows = scenes[scenes["split"] == split]
    classes = rows["truth"].nunique()
    return {
        str(scene): counts["pixels"].to_numpy(np.float64).reshape(classes, classes)
        for scene, counts in rows.groupby("scene", sort=False)
    }


def classes_of(runs: Sequence[EvaluatedRun]) -> list[str]:
    """Return the names of the classes, the background first."""
    return list(runs[0].scenes["truth"].unique())


def scene_scores(runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    """Return scene, variant, run and iou: the mean over all classes but the first, for each test scene and run."""
    rows = [
        {"scene": scene, "variant": run.variant, "run": run.name, "iou": float(class_ious(counts)[1:].mean())}
        for run in runs
        for scene, counts in confusions(run.scenes, "test").items()
    ]
    return pd.DataFrame(rows)


def class_scores(runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    """Return variant, class, iou, precision, recall and share, from counts summed over all test scenes and seeds.

    Precision is NaN for a class that is never predicted, and recall for one that is not present.
    """
    rows = []
    for variant in dict.fromkeys(run.variant for run in runs):
        members = [run for run in runs if run.variant == variant]
        counts = np.sum([scene for run in members for scene in confusions(run.scenes, "test").values()], 0)
        ious = class_ious(counts).tolist()
        for i, name in enumerate(classes_of(runs)):
            right, predicted, present = counts[i, i], counts[:, i].sum(), counts[i].sum()
            row = {"variant": variant, "class": name, "iou": ious[i]}
            row |= {"precision": ratio(right, predicted, math.nan), "recall": ratio(right, present, math.nan)}
            rows.append({**row, "share": present / counts.sum()})
    return pd.DataFrame(rows)
