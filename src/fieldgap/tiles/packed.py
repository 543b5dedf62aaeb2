"""Packed tiles, memory-mapped. Loads no torch, since report and record read them too."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.base.files import read_json, read_rows
from fieldgap.base.labels import IGNORE
from fieldgap.base.names import TILES
from fieldgap.tiles.splits import in_fold, in_share, torn_apart


@dataclass(frozen=True)
class Tiles:
    """images (N, H, W, bands) and masks (N, H, W), uint8, on disk; each tile's scene and split; the classes' names.

    `mean` and `std`, band by band on the scale 0 to 255, are those of the training scenes.
    """

    images: np.ndarray
    masks: np.ndarray
    scenes: np.ndarray
    splits: np.ndarray
    classes: tuple[str, ...]
    mean: list[float]
    std: list[float]

    def indices(self, split: str) -> np.ndarray:
        """-> the tiles of one split, ascending."""
        return np.flatnonzero(self.splits == split)

    def training(self, share: float) -> np.ndarray:
        """-> the training tiles of a share of the training scenes, rounded up; a smaller share lies in a larger one."""
        tiles = self.indices("train")
        return tiles[in_share(self.scenes[tiles], share)]

    def balanced_weights(self, indices: np.ndarray) -> tuple[float, ...]:
        """-> for each class the weight that gives all classes the same sum over the pixels of `indices`; mean 1.

        A class without a pixel weighs 0.
        """
        counts, classes = np.zeros(IGNORE + 1), len(self.classes)
        for index in indices:
            counts += np.bincount(self.masks[index].ravel(), minlength=len(counts))
        counts = counts[:classes]
        present = counts > 0
        weights = np.divide(counts.sum(), counts * present.sum(), where=present, out=np.zeros(classes))
        return tuple(weights.tolist())


def statistics(report: Mapping[str, Any], scenes: Container[str]) -> tuple[list[float], list[float]]:
    """-> mean and standard deviation of each band over the pixels of some scenes, from their exact sums."""
    told = [each["bytes"] for each in report["scenes"] if each["scene"] in scenes]
    count = max(sum(each["n"] for each in told), 1)
    total, squares = (np.array([each[key] for each in told]).sum(0) / count for key in ("sum", "squares"))
    return total.tolist(), np.sqrt(np.maximum(squares - total**2, 1)).tolist()


def load(folder: Path, fold: int | str = "none", split_by: str = "scene") -> Tiles:
    """-> the tiles of a folder that stage normalize made. Raises InputError when a file is missing or broken.

    With a fold, that fold is val and the others train. Split by tile, the counts of the splits stay and scenes are torn
    apart between them.
    """
    rows, report = read_rows(folder / "tiles.csv"), read_json(folder / "mask_report.json")
    try:
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        masks = np.load(folder / "masks.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: its tiles cannot be read ({error}); run normalize again") from None
    if not len(images) == len(masks) == len(rows):
        raise InputError(f"{folder}: images.npy, masks.npy and tiles.csv differ in length; run normalize again")
    scenes, splits, folds = (np.array([row[key] for row in rows]) for key in ("scene", "split", "fold"))
    splits = in_fold(splits, folds, fold)
    mean, std = statistics(report, set(scenes[splits == "train"]))
    if split_by == "tile":
        splits = torn_apart(scenes, splits)
    return Tiles(images, masks, scenes, splits, tuple(report["classes"]), mean, std)


def digest_of(tiles: Path) -> str:
    """-> a digest of the bytes of all tiles, in hexadecimal."""
    whole = hashlib.sha256()
    for name in TILES:
        with (tiles / name).open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
