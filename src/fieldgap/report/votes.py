"""Predictions as votes: how many runs of a variant predict each class at each pixel.

The predictions of all runs of a large grid would not fit into memory; their counts do.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fieldgap.base.errors import InputError
from fieldgap.base.labels import IGNORE

if TYPE_CHECKING:
    from fieldgap.analysis.runs import EvaluatedRun


def read_predictions(run: EvaluatedRun) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers (T,) of a run's test tiles, and the predicted classes (T, H, W).

    Raises:
        InputError: predictions.npz is missing or broken.
    """
    path = run.folder / "predictions.npz"
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return file["tiles"], file["classes"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read ({error}); evaluate this run again") from None


def count_votes(predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return the votes (classes, ...) of predicted classes (runs, ...)."""
    return np.stack([(predicted == index).sum(0, dtype=np.int32) for index in range(classes)])


def votes_by_variant(runs: Sequence[EvaluatedRun], classes: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the test tiles of the first finished run, and each variant's votes (classes, T, H, W) on them.

    Runs that were tested on other tiles, as with split_by: tile, are left out, because their pictures would not be
    comparable.
    """
    shared, by_variant = np.zeros(0, np.int64), dict[str, np.ndarray]()
    for run in runs:
        if run.finished:
            tiles, predicted = read_predictions(run)
            shared = shared if by_variant else tiles
            if np.array_equal(tiles, shared):
                votes = count_votes(predicted[None], classes)
                by_variant[run.variant] = by_variant.get(run.variant, 0) + votes
    return shared, by_variant


def voters(votes: np.ndarray) -> int:
    """Return how many runs voted at each pixel."""
    return int(votes.reshape(len(votes), -1)[:, 0].sum())


def majority(votes: np.ndarray) -> np.ndarray:
    """Return the class (...) that most runs predict, or the first of those that tie, from votes (classes, ...)."""
    return votes.argmax(0)


def wrong_votes(votes: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return how many runs are wrong at each pixel of `masks` (...), and 0 where the class is not known."""
    known = masks != IGNORE
    right = np.take_along_axis(votes, np.where(known, masks, 0)[None].astype(np.int64), 0)[0]
    return (voters(votes) - right) * known


def disagreement(votes: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return one, other and share: pixels on which a run of one variant and a run of the other differ.

    The share is averaged over all such pairs of runs. Between a variant and itself it is what seeds alone disagree on,
    and NaN with one seed. Two runs agree at a pixel if both vote for the same class, so counts of votes suffice and no
    pair has to be compared.
    """
    rows = []
    flat = {name: variant.ravel().astype(np.float64) for name, variant in votes.items()}  # Exact up to 2**53.
    for one, a in flat.items():
        for other, b in flat.items():
            pixels = votes[one][0].size
            with_itself = voters(votes[one]) * pixels if one == other else 0
            pairs = voters(votes[one]) * voters(votes[other]) * pixels - with_itself
            rows.append((one, other, 1 - (float(a @ b) - with_itself) / pairs if pairs else np.nan))
    return pd.DataFrame(rows, columns=["one", "other", "share"])
