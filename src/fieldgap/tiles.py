"""Packed tiles, memory-mapped, and their way to a device as whole batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fieldgap.errors import InputError
from fieldgap.files import read_json, read_rows

FILES = ("images.npy", "masks.npy", "tiles.csv", "mask_report.json")


@dataclass(frozen=True)
class Tiles:
    """images (N, H, W, 3) and masks (N, H, W), uint8, on disk; mean and std of the training pixels, 0 to 255."""

    images: np.ndarray
    masks: np.ndarray
    scenes: np.ndarray
    splits: np.ndarray
    mean: list[float]
    std: list[float]

    def indices(self, split: str) -> np.ndarray:
        """-> the tiles of one split, ascending."""
        return np.flatnonzero(self.splits == split)

    def training(self, share: float) -> np.ndarray:
        """-> the training tiles of a share of the training scenes, rounded up; a smaller share lies in a larger one."""
        tiles = self.indices("train")
        scenes = np.unique(self.scenes[tiles])
        order = np.random.default_rng(0).permutation(len(scenes))
        chosen = scenes[order[: math.ceil(share * len(scenes))]]
        return tiles[np.isin(self.scenes[tiles], chosen)]

    def balanced_weights(self, indices: np.ndarray, classes: int) -> tuple[float, ...]:
        """-> for each class the weight that gives all classes the same sum over the pixels of `indices`; mean 1.

        A class without a pixel weighs 0.
        """
        counts = np.zeros(classes)
        for index in indices:
            counts += np.bincount(self.masks[index].ravel(), minlength=classes)
        present = counts > 0
        weights = np.divide(counts.sum(), counts * present.sum(), where=present, out=np.zeros(classes))
        return tuple(weights.tolist())

    def batch(self, indices: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
        """-> images (B, 3, H, W) uint8, channels last in memory, and classes (B, H, W) int64."""
        images = torch.from_numpy(self.images[indices]).to(device).permute(0, 3, 1, 2)
        return images, torch.from_numpy(self.masks[indices]).to(device).long()


def load(folder: Path) -> Tiles:
    """-> the tiles of a folder that stage normalize made. Raises InputError when a file is missing or broken."""
    rows, report = read_rows(folder / "tiles.csv"), read_json(folder / "mask_report.json")
    try:
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        masks = np.load(folder / "masks.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: its tiles cannot be read ({error}); run normalize again") from None
    if not len(images) == len(masks) == len(rows):
        raise InputError(f"{folder}: images.npy, masks.npy and tiles.csv differ in length; run normalize again")
    scenes, splits = (np.array([row[key] for row in rows]) for key in ("scene", "split"))
    return Tiles(images, masks, scenes, splits, **report["train_pixels"])


def augmented(images: Tensor, classes: Tensor, symmetry: Tensor) -> tuple[Tensor, Tensor]:
    """Turns and mirrors square tiles, each by its own of the 8 symmetries of the square.

    images (B, 3, H, H), classes (B, H, H), symmetry (B,) with values 0 to 7: bit 0 mirrors left and right, bit 1 up
    and down, bit 2 transposes.
    """
    for bit, move in enumerate((lambda t: t.flip(-1), lambda t: t.flip(-2), lambda t: t.mT)):
        chosen = (symmetry >> bit & 1).bool()
        images = torch.where(chosen[:, None, None, None], move(images), images)
        classes = torch.where(chosen[:, None, None], move(classes), classes)
    return images, classes
