"""The splits of a run as MLflow data sets: the tiles that it trained on, was chosen by, and was tested on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fieldgap.tiles.packed import load


def dataset_settings(config: Mapping[str, Any]) -> tuple[int | str, str, float]:
    """Return fold, split_by and train_share, on which the tiles of a run's splits depend."""
    return config["fold"], config["split_by"], config["train_share"]


def datasets(tiles: Path, digest: str, fold: int | str, split_by: str, train_share: float) -> list[dict[str, str]]:
    """Return name, digest, source and counts of the tiles in train, val and test.

    Their digests follow from that of all tiles and from which tiles they hold: runs of two folds share only that of
    test.
    """
    packed = load(tiles, fold, split_by)
    indices = {"train": packed.training(train_share), "val": packed.indices("val"), "test": packed.indices("test")}
    return [
        {
            "name": f"{split} tiles",
            "context": split,
            "digest": hashlib.sha256(f"{digest} {chosen.tolist()}".encode()).hexdigest()[:16],
            "source": tiles.as_posix(),
            "profile": json.dumps({"num_rows": len(chosen), "scenes": len(np.unique(packed.scenes[chosen]))}),
        }
        for split, chosen in indices.items()
    ]
