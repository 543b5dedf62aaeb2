"""The split of each tile in one run: its scene's, a fold's, or torn apart.

Light, since record loads it.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

from fieldgap.base.errors import InputError


def in_fold(splits: np.ndarray, folds: np.ndarray, fold: int | str) -> np.ndarray:
    """-> the splits when one fold of what is not in test is val, and the others are train; as they are without a fold.

    Raises InputError for a fold that no tile is in.
    """
    if fold == "none":
        return splits
    if str(fold) not in folds:
        raise InputError(
            f"fold: {fold} is none of the folds of these tiles; raise split.folds above {fold}, or use none"
        )
    return np.where(splits == "test", "test", np.where(folds == str(fold), "val", "train"))


def torn_apart(scenes: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """-> the same splits dealt out again tile by tile, whatever scene they are from: what leaks, for comparison."""
    draws = [hashlib.sha256(f"{scene} {index}".encode()).digest() for index, scene in enumerate(scenes)]
    dealt = np.empty_like(splits)
    dealt[sorted(range(len(draws)), key=draws.__getitem__)] = np.sort(splits)
    return dealt


def in_share(scenes: np.ndarray, share: float) -> np.ndarray:
    """-> which tiles, given by their scenes, are of a share of these scenes, rounded up; a smaller lies in a larger."""
    names = np.unique(scenes)
    order = np.random.default_rng(0).permutation(len(names))
    return np.isin(scenes, names[order[: math.ceil(share * len(names))]])
