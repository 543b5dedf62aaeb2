"""Read packed tiles. Loads no torch, because stages report and record read them too."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
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
class PackedTiles:
    """The files that stage normalize writes about N tiles.

    Attributes:
        images: Pixels (N, H, W, bands) in uint8, mapped into memory.
        masks: Class indices (N, H, W) in uint8, IGNORE where unknown, mapped into memory.
        scenes: The scene (N,) of each tile.
        splits: The split (N,) of each tile's scene.
        folds: The fold (N,) of each tile's scene as text, empty for none.
        corners: The row and column (N, 2) of each tile's upper left pixel in its scene.
        classes: The names of the classes, the background first.
        report: What mask_report.json says of each scene.
    """

    images: np.ndarray
    masks: np.ndarray
    scenes: np.ndarray
    splits: np.ndarray
    folds: np.ndarray
    corners: np.ndarray
    classes: tuple[str, ...]
    report: list[dict[str, Any]]


@dataclass(frozen=True)
class Tiles:
    """The tiles of one run.

    Attributes:
        images: Pixels (N, H, W, bands) in uint8, mapped into memory.
        masks: Class indices (N, H, W) in uint8, IGNORE where unknown, mapped into memory.
        scenes: The scene (N,) of each tile.
        splits: The split (N,) of each tile in this run.
        classes: The names of the classes, the background first.
        mean: The mean of each band over the training scenes, on the scale 0 to 255.
        std: The standard deviation of each band over the training scenes, on the same scale.
    """

    images: np.ndarray
    masks: np.ndarray
    scenes: np.ndarray
    splits: np.ndarray
    classes: tuple[str, ...]
    mean: list[float]
    std: list[float]

    def indices(self, split: str) -> np.ndarray:
        """Return the tiles of one split, ascending."""
        return np.flatnonzero(self.splits == split)

    def training(self, share: float) -> np.ndarray:
        """Return the training tiles in a share of the training scenes, ascending.

        The number of scenes is rounded up, and the scenes of a smaller share are among those of a larger one.
        """
        tiles = self.indices("train")
        return tiles[in_share(self.scenes[tiles], share)]

    def balanced_weights(self, indices: np.ndarray) -> tuple[float, ...]:
        """Return the weight of each class that gives all classes the same sum over the pixels of some tiles.

        The mean weight of a pixel is 1. A class without pixels has weight 0.
        """
        counts, classes = np.zeros(IGNORE + 1), len(self.classes)
        for index in indices:
            counts += np.bincount(self.masks[index].ravel(), minlength=len(counts))
        counts = counts[:classes]
        present = counts > 0
        weights = np.divide(counts.sum(), counts * present.sum(), where=present, out=np.zeros(classes))
        return tuple(weights.tolist())


def read_packed(folder: Path) -> PackedTiles:
    """Return what stage normalize wrote into a folder.

    Raises:
        InputError: If a file is missing or broken, or if the files do not belong together.
    """
    rows, report = read_rows(folder / "tiles.csv"), read_json(folder / "mask_report.json")
    try:
        images, masks = (
            np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ("images", "masks")
        )
        scenes, splits, folds = (np.array([row[column] for row in rows]) for column in ("scene", "split", "fold"))
        corners = np.array([(int(row["y"]), int(row["x"])) for row in rows])
        classes, of_scenes = tuple(report["classes"]), list(report["scenes"])
    except KeyError as error:
        raise InputError(f"{folder}: tiles.csv or mask_report.json lacks {error}; run normalize again") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: its tiles cannot be read ({error}); run normalize again") from None
    if not len(images) == len(masks) == len(rows):
        raise InputError(f"{folder}: images.npy, masks.npy and tiles.csv differ in length; run normalize again")
    return PackedTiles(images, masks, scenes, splits, folds, corners, classes, of_scenes)


def load(folder: Path, fold: int | str = "none", split_by: str = "scene") -> Tiles:
    """Return the tiles of one run.

    Args:
        folder: What stage normalize wrote.
        fold: The fold to validate on, or `none` for the splits as packed.
        split_by: `scene`, or `tile` to tear scenes apart between the splits, whose sizes stay.

    Raises:
        InputError: As `read_packed` does, or if no tile is in the fold.
    """
    packed = read_packed(folder)
    splits = in_fold(packed.splits, packed.folds, fold)
    training = set(packed.scenes[splits == "train"])
    mean, std = _statistics([scene["bytes"] for scene in packed.report if scene["scene"] in training])
    if split_by == "tile":
        splits = torn_apart(packed.scenes, splits)
    return Tiles(packed.images, packed.masks, packed.scenes, splits, packed.classes, mean, std)


def _statistics(sums: Sequence[dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Return the mean and standard deviation of each band from the exact sums of scenes."""
    count = max(sum(scene["n"] for scene in sums), 1)
    total, squares = (np.array([scene[key] for scene in sums]).sum(0) / count for key in ("sum", "squares"))
    return total.tolist(), np.sqrt(np.maximum(squares - total**2, 1)).tolist()


def digest_of(tiles: Path) -> str:
    """Return a digest of the bytes of all tiles, in hexadecimal."""
    whole = hashlib.sha256()
    for name in TILES:
        with (tiles / name).open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
