"""Tiles of the fresh scenes, which are drawn like the data but seen by no run.

The population gap is measured on them; held-out scenes estimate it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.data.cutting import kept_corners, pad, stride_of, tiles_at
from fieldgap.data.masks import classify, table_of
from fieldgap.data.pairs import has_fresh_scenes
from fieldgap.data.raster import chosen_bands

if TYPE_CHECKING:
    from fieldgap.settings.sections import Data, Normalize


def read_fresh(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the images (N, H, W, 3) and masks (N, H, W) of uint8 that stage demo drew.

    Raises:
        InputError: The file is missing or broken.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as drawn:
            return drawn["images"], drawn["masks"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: its fresh scenes cannot be read ({error}); run demo again") from None


def _cut_fresh(path: Path, data: Data, config: Normalize) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    table, tile = table_of(data), config.tile
    bands = [band - 1 for band in chosen_bands(3, data.bands, path)]
    for pixels, mask in zip(*read_fresh(path), strict=True):
        image, classes = pixels[:, :, bands], classify(mask[:, :, None], None, table, path).classes
        if config.pad:
            image, classes = pad(image, classes, tile, stride_of(config))
        corners = kept_corners(classes, config)
        yield tiles_at(image, corners, tile), tiles_at(classes, corners, tile)


def fresh_tiles(fresh_scenes: Path, data: Data, config: Normalize) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the fresh scenes cut like the data: scenes (N,), images (N, tile, tile, bands), masks (N, tile, tile).

    N is 0 if the data are not drawn.

    Raises:
        InputError: The fresh scenes cannot be read, or the settings do not fit them.
    """
    cuts = list(_cut_fresh(fresh_scenes, data, config)) if has_fresh_scenes(data, fresh_scenes) else []
    scenes = np.repeat(np.arange(len(cuts)), [len(images) for images, _ in cuts])
    empty = np.zeros((0, config.tile, config.tile), np.uint8)
    images = np.concatenate([empty[..., None].repeat(len(data.bands), 3), *(images for images, _ in cuts)])
    return scenes, images, np.concatenate([empty, *(masks for _, masks in cuts)])
