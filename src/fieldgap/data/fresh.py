"""Fresh scenes, drawn like the data and seen by no run, as tiles: on them the gap that held-out scenes estimate."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.data.cutting import kept, padded, stride_of, tiles_of
from fieldgap.data.images import chosen_bands
from fieldgap.data.masks import classify
from fieldgap.data.pairs import belongs
from fieldgap.data.reading import table_of

if TYPE_CHECKING:
    from fieldgap.settings.sections import Data, Normalize


def read_fresh(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """-> images (N, H, W, 3) and masks (N, H, W) uint8 that stage demo drew. Raises InputError."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as drawn:
            return drawn["images"], drawn["masks"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: its fresh scenes cannot be read ({error}); run demo again") from None


def cut_fresh(path: Path, data: Data, config: Normalize) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the tiles of each fresh scene, cut like the data's: images (N, tile, tile, bands) and classes.

    Raises InputError.
    """
    table, tile = table_of(data), config.tile
    bands = [band - 1 for band in chosen_bands(3, data.bands, path)]
    for pixels, mask in zip(*read_fresh(path), strict=True):
        image, classes = pixels[:, :, bands], classify(mask[:, :, None], None, table, path).classes
        if config.pad:
            image, classes = padded(image, classes, tile, stride_of(config))
        places = kept(classes, config)
        yield tiles_of(image, places, tile), tiles_of(classes, places, tile)


def fresh_tiles(fresh_scenes: Path, data: Data, config: Normalize) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-> scenes (N,), images (N, tile, tile, bands) and masks (N, tile, tile); N is 0 for scenes of the user's own."""
    found = list(cut_fresh(fresh_scenes, data, config)) if belongs(fresh_scenes, data) else []
    scenes = np.repeat(np.arange(len(found)), [len(images) for images, _ in found])
    none = np.zeros((0, config.tile, config.tile), np.uint8)
    images = np.concatenate([none[..., None].repeat(len(data.bands), 3), *(images for images, _ in found)])
    return scenes, images, np.concatenate([none, *(classes for _, classes in found)])
