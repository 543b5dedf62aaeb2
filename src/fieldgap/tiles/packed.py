"""Packed tiles, memory-mapped, and their way to a device as whole batches."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldgap.errors import InputError
from fieldgap.files import read_json, read_rows
from fieldgap.labels import IGNORE
from fieldgap.partition import in_fold, in_share, torn_apart


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

    def batch(self, indices: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
        """-> images (B, bands, H, W) uint8, channels last in memory, and classes (B, H, W) int64."""
        return sent(self.images[indices], device).permute(0, 3, 1, 2), sent(self.masks[indices], device).long()


def sent(values: np.ndarray, device: torch.device) -> Tensor:
    """-> the values on a device; the host does not wait until they are on a GPU."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


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


def augmented(images: Tensor, classes: Tensor, symmetry: Tensor) -> tuple[Tensor, Tensor]:
    """Turns and mirrors square tiles, each by its own of the 8 symmetries of the square.

    images (B, bands, H, H), classes (B, H, H), symmetry (B,) with values 0 to 7: bit 0 mirrors left and right, bit 1 up
    and down, bit 2 transposes.
    """
    for bit, move in enumerate((lambda t: t.flip(-1), lambda t: t.flip(-2), lambda t: t.mT)):
        chosen = (symmetry >> bit & 1).bool()
        images = torch.where(chosen[:, None, None, None], move(images), images)
        classes = torch.where(chosen[:, None, None], move(classes), classes)
    return images, classes
