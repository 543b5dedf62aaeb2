"""The tiles of a run's splits as MLflow data sets: what it trained on, chose by, and was tested on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fieldgap.base.files import read_rows
from fieldgap.tiles.splits import in_fold, in_share, torn_apart


def dealt_by(config: Mapping[str, Any]) -> tuple[object, ...]:
    """-> what a run's data sets follow: runs that agree in it have the same ones."""
    return tuple(config[key] for key in ("fold", "split_by", "train_share"))


def datasets(tiles: Path, whole: str, config: Mapping[str, Any]) -> list[dict[str, str]]:
    """-> the tiles that a run of this configuration had in each split: name, digest, where they lie, and counts.

    The digest follows the bytes, by `whole` of digest_of(), and which tiles they are: so runs of two folds share that
    of test alone.
    """
    rows = read_rows(tiles / "tiles.csv")
    scenes, splits, folds = (np.array([row[key] for row in rows]) for key in ("scene", "split", "fold"))
    splits = in_fold(splits, folds, config["fold"])
    if config["split_by"] == "tile":
        splits = torn_apart(scenes, splits)
    found = []
    for split in ("train", "val", "test"):
        chosen = np.flatnonzero(splits == split)
        if split == "train":
            chosen = chosen[in_share(scenes[chosen], config["train_share"])]
        digest = hashlib.sha256(f"{whole} {chosen.tolist()}".encode()).hexdigest()[:16]
        counts = {"num_rows": len(chosen), "scenes": len(np.unique(scenes[chosen]))}
        found.append(
            {"name": f"{split} tiles", "context": split, "digest": digest, "source": tiles.as_posix()}
            | {"profile": json.dumps(counts)}
        )
    return found
