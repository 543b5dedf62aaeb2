"""Fresh scenes, drawn like the data and seen by no run, as tiles: on them the gap that held-out scenes estimate."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fieldgap.errors import InputError
from fieldgap.images import chosen_bands
from fieldgap.masks import classify, make_table
from fieldgap.tiling import laid_out

if TYPE_CHECKING:
    from fieldgap.sections import Data, Normalize


def belongs(population: Path, data: Data) -> bool:
    """-> whether the scenes are those that stage demo drew beside this file; of the user's own there are no more."""
    return (Path(data.images), Path(data.masks)) == (population.with_name("images"), population.with_name("masks"))


def read_population(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """-> images (N, H, W, 3) and masks (N, H, W) uint8 that stage demo drew. Raises InputError."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as drawn:
            return drawn["images"], drawn["masks"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: its fresh scenes cannot be read ({error}); run demo again") from None


def cut_fresh(path: Path, data: Data, config: Normalize) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yields each tile of the fresh scenes, cut like the data's: its scene, image (tile, tile, bands) and classes.

    Raises InputError.
    """
    table, tile = make_table(data.table, data.ignore, data.tolerance), config.tile
    bands = [band - 1 for band in chosen_bands(3, data.bands, path)]
    for scene, (pixels, mask) in enumerate(zip(*read_population(path), strict=True)):
        classes = classify(mask[:, :, None], None, table, path).classes
        image, classes, corners = laid_out(pixels[:, :, bands], classes, config)
        for y, x in corners:
            window = np.s_[y : y + tile, x : x + tile]
            yield scene, image[window], classes[window]


def fresh_tiles(population: Path, data: Data, config: Normalize) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-> scenes (N,), images (N, tile, tile, bands) and masks (N, tile, tile); N is 0 for scenes of the user's own."""
    found = list(cut_fresh(population, data, config)) if belongs(population, data) else []
    shape = (len(found), config.tile, config.tile)
    scenes = np.array([scene for scene, _, _ in found], np.int64)
    images = np.array([image for _, image, _ in found], np.uint8).reshape(*shape, len(data.bands))
    return scenes, images, np.array([classes for _, _, classes in found], np.uint8).reshape(shape)
