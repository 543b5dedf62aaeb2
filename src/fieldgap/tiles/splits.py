"""The split that each tile is in during one run: that of its scene, one decided by folds, or one of its own."""

from __future__ import annotations

import hashlib
import math

import numpy as np

from fieldgap.base.errors import InputError


def in_fold(splits: np.ndarray, folds: np.ndarray, fold: int | str) -> np.ndarray:
    """Return the splits (N,) with the tiles of one fold in val and those of the other folds in train.

    Args:
        splits: The split (N,) of each tile as it was packed. Test stays as it is.
        folds: The fold (N,) of each tile, as text.
        fold: The fold to validate on, or `none` to return `splits`.

    Raises:
        InputError: If no tile is in the fold.
    """
    if fold == "none":
        return splits
    if str(fold) not in folds:
        raise InputError(
            f"fold: {fold} is none of the folds of these tiles; raise split.folds above {fold}, or use none"
        )
    return np.where(splits == "test", "test", np.where(folds == str(fold), "val", "train"))


def torn_apart(scenes: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Return the splits (N,) dealt out again tile by tile, whatever scene a tile is from.

    This leaks, which is its purpose: runs on such splits show what leakage would have promised.
    """
    draws = [hashlib.sha256(f"{scene} {index}".encode()).digest() for index, scene in enumerate(scenes)]
    dealt = np.empty_like(splits)
    dealt[sorted(range(len(draws)), key=draws.__getitem__)] = np.sort(splits)
    return dealt


def in_share(scenes: np.ndarray, share: float) -> np.ndarray:
    """Return which tiles (N,) belong to a share of all scenes, rounded up.

    The scenes of a smaller share are among those of a larger one.

    Args:
        scenes: The scene (N,) of each tile.
        share: The share of the scenes, above 0 and at most 1.
    """
    names = np.unique(scenes)
    order = np.random.default_rng(0).permutation(len(names))
    return np.isin(scenes, names[order[: math.ceil(share * len(names))]])
