"""Stage demo: drawn farmland seen from above, one metre per pixel, with exact masks. It is the default data set.

Crops, rough grazing, woods and water share their colours, so only texture (rows, tussocks, crowns, hard edges) and
context separate farmland from the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fieldgap.base.environment import cores
from fieldgap.base.files import replacing
from fieldgap.demo.scene import draw_scene

if TYPE_CHECKING:
    from fieldgap.settings.sections import Demo


def scene_names(scenes: int) -> list[str]:
    """Return the names of the scenes, without folder and suffix."""
    return [f"scene_{index:03d}" for index in range(scenes)]


def save(path: Path, pixels: Any) -> None:
    """Write a PNG, whole or not at all.

    Raises:
        InputError: It cannot be written.
    """
    png = cv2.imencode(".png", pixels)[1].tobytes()
    with replacing(path) as draft:
        draft.write_bytes(png)


def for_each(count: int, draw: Callable[[int], None]) -> None:
    """Call `draw` with each number below `count`, with a thread per core."""
    with ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(draw, range(count)):
            pass  # Errors of the threads are raised here.


def draw_fresh(config: Demo) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, size, size, 3) and masks (N, size, size) of the scenes that come after those of the data."""
    shape = (config.fresh, config.size, config.size)
    images, masks = np.empty((*shape, 3), np.uint8), np.empty(shape, np.uint8)

    def draw(number: int) -> None:
        images[number], masks[number] = draw_scene(config.size, config.seed, config.scenes + number)

    for_each(config.fresh, draw)
    return images, masks


def run(images: Path, masks: Path, fresh_scenes: Path, config: Demo) -> None:
    """Draw all scenes.

    Args:
        images: Folder for scene_000.png and so on, RGB.
        masks: Folder for scene_000_mask.png and so on, 255 for farmland and 0 elsewhere.
        fresh_scenes: A .npz file for the fresh scenes, which no run sees.
        config: How many scenes, how large, and the seed.

    Raises:
        InputError: The size is too small, or a file cannot be written.
    """
    names = scene_names(config.scenes)

    def draw(index: int) -> None:
        image, mask = draw_scene(config.size, config.seed, index)
        save(images / f"{names[index]}.png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        save(masks / f"{names[index]}_mask.png", mask)

    for_each(len(names), draw)
    fresh_images, fresh_masks = draw_fresh(config)
    with replacing(fresh_scenes) as draft, draft.open("wb") as file:
        np.savez(file, images=fresh_images, masks=fresh_masks)
