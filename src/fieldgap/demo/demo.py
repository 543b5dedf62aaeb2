"""Stage demo: synthetic farmland seen from above, one metre a pixel, with exact masks: the default data set.

Crops, rough grazing, woods and water share their colours, so that only texture (rows against mottle, crowns, hard
edges) and context tell farmland from the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fieldgap.base.environment import cores
from fieldgap.base.errors import InputError
from fieldgap.base.files import replacing
from fieldgap.demo.scene import draw_scene

if TYPE_CHECKING:
    from fieldgap.settings.sections import Demo


def stems(scenes: int) -> list[str]:
    """The names of the scenes, without folder and ending."""
    return [f"scene_{index:03d}" for index in range(scenes)]


def save(path: Path, pixels: Any) -> None:
    """Writes a PNG, whole or not at all. Raises InputError when the folder refuses it."""
    png = cv2.imencode(".png", pixels)[1].tobytes()
    try:
        with replacing(path) as draft:
            draft.write_bytes(png)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); check permissions and free space") from None


def for_each(count: int, draw: Callable[[int], None]) -> None:
    """Calls `draw` with 0 to count - 1, by as many threads as there are cores."""
    with ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(draw, range(count)):
            pass  # An error of a thread is raised here.


def draw_fresh(config: Demo) -> tuple[np.ndarray, np.ndarray]:
    """-> images (N, size, size, 3) and masks (N, size, size) of the scenes that follow the data's in their sequence."""
    shape = (config.fresh, config.size, config.size)
    images, masks = np.empty((*shape, 3), np.uint8), np.empty(shape, np.uint8)

    def draw(number: int) -> None:
        images[number], masks[number] = draw_scene(config.size, config.seed, config.scenes + number)

    for_each(config.fresh, draw)
    return images, masks


def run(images: Path, masks: Path, fresh_scenes: Path, config: Demo) -> None:
    """Writes images/scene_000.png and masks/scene_000_mask.png, and so on to `config.scenes` pairs.

    `fresh_scenes` gets `config.fresh` further scenes, which no run sees.
    """
    names = stems(config.scenes)

    def draw(index: int) -> None:
        image, mask = draw_scene(config.size, config.seed, index)
        save(images / f"{names[index]}.png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        save(masks / f"{names[index]}_mask.png", mask)

    for_each(len(names), draw)
    fresh_images, fresh_masks = draw_fresh(config)
    with replacing(fresh_scenes) as draft, draft.open("wb") as file:
        np.savez(file, images=fresh_images, masks=fresh_masks)
