"""What the runs were trained and tested on: the scenes of each split in numbers and pictures, and what leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fieldgap.base.labels import IGNORE
from fieldgap.report.pictures import LARGEST, UNKNOWN, Picture, painted, strip, visible

if TYPE_CHECKING:
    from fieldgap.tiles.packed import PackedTiles

SPLITS = ("train", "val", "test")
SCENES = 4  # Pictured per split.
LEAKS = 12  # Pairs of scenes pictured.
VALUES = 6  # Of masks, listed by name.
Scene = Mapping[str, Any]  # An entry of mask_report.json.


def size_range(scenes: Sequence[Scene]) -> str:
    """Return the size that all scenes share, or the smallest and the largest."""
    sizes = sorted({(scene["width"] * scene["height"], scene["width"], scene["height"]) for scene in scenes})
    words = [f"{width} x {height}" for _, width, height in sizes]
    return words[0] if len(words) == 1 else f"{words[0]} to {words[-1]}"


def mask_values(scenes: Sequence[Scene]) -> str:
    """Return the values that occur in the masks, the most frequent first, up to VALUES of them."""
    counts: Counter[str] = Counter()
    for scene in scenes:
        counts.update(scene["values"])
    listed = [value for value, _ in counts.most_common(VALUES)]
    return ", ".join(listed) + (f" and {len(counts) - VALUES} more" if len(counts) > VALUES else "")


def foreground(scene: Scene) -> float:
    """Return the share of a scene's used and known pixels whose class is not the first."""
    counts = [count for name, count in scene["used"].items() if name != "ignore"]
    return sum(counts[1:]) / sum(counts) if sum(counts) else 0.0


def _split_row(split: str, scenes: Sequence[Scene]) -> dict[str, Any]:
    pixels: Counter[str] = Counter()
    for scene in scenes:
        pixels.update(scene["used"])
    total, used = sum(scene["height"] * scene["width"] for scene in scenes), pixels.total()
    ignored = pixels.pop("ignore")
    known = max(pixels.total(), 1)
    return {
        "split": split,
        "scenes": len(scenes),
        "tiles": sum(scene["tiles"] for scene in scenes),
        "sizes": size_range(scenes),
        "shares": {name: count / known for name, count in pixels.items()},
        "used": used / total,
        "ignored": ignored / max(used, 1),
        "empty": sum(foreground(scene) == 0 for scene in scenes),
        "mask_values": mask_values(scenes),
        "snapped": sum(scene["pixels_snapped"] for scene in scenes) / total,
    }


def split_rows(scenes: Sequence[Scene]) -> list[dict[str, Any]]:
    """Return a row for each split that has scenes: their number and sizes, and what their tiles use."""
    by_split = {split: [scene for scene in scenes if scene["split"] == split] for split in SPLITS}
    return [_split_row(split, members) for split, members in by_split.items() if members]


def view(packed: PackedTiles, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Return a scene put together from its tiles and made small: colours (H, W, 3) and classes (H, W).

    Classes are IGNORE where no tile lies.
    """
    side, size = packed.masks.shape[1], (scene["height"], scene["width"])
    step = max(1, min(side, max(size) // (2 * LARGEST)))
    shape = tuple(-(-length // step) + side for length in size)
    image, classes = np.full((*shape, 3), UNKNOWN, np.uint8), np.full(shape, IGNORE, np.uint8)
    small = np.s_[::step, ::step]
    for tile in np.flatnonzero(packed.scenes == scene["scene"]):
        y, x = packed.corners[tile] // step
        mask = packed.masks[tile][small]
        window = np.s_[y : y + mask.shape[0], x : x + mask.shape[1]]
        image[window], classes[window] = visible(packed.images[tile][small]), mask
    height, width = (length // step for length in size)
    return image[:height, :width], classes[:height, :width]


def outlined(image: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the image with the outlines of its classes, which reveal a mask that is shifted."""
    edges = cv2.morphologyEx(classes, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    return np.where(edges[..., None], np.array((255, 0, 255), np.uint8), image)


def _scene_picture(packed: PackedTiles, scene: Scene) -> Picture:
    image, classes = view(packed, scene)
    caption = f"{foreground(scene):.0%} foreground, {scene['width']} x {scene['height']} px"
    pictures = strip([image, painted(classes), outlined(image, classes)])
    return Picture(f"{scene['split']}: {scene['scene']}", caption, pictures)


def contact_sheet(packed: PackedTiles) -> list[Picture]:
    """Return scenes of each split, from the least to the most foreground: image, mask, and image with outlines."""
    pictures = []
    for split in SPLITS:
        scenes = sorted((scene for scene in packed.report if scene["split"] == split), key=foreground)
        chosen = np.unique(np.linspace(0, len(scenes) - 1, min(SCENES, len(scenes))).astype(int))
        pictures += [_scene_picture(packed, scenes[index]) for index in chosen]
    return pictures


def leak_pictures(packed: PackedTiles, leaks: Sequence[Mapping[str, str]]) -> list[Picture]:
    """Return pairs of scenes that show the same place, side by side, from rows of leakage.csv."""
    scenes = {scene["scene"]: scene for scene in packed.report}
    pictures = []
    for leak in leaks[:LEAKS]:
        caption = f"{leak['kind']}: {leak['first_part']} and {leak['second_part']}"
        pair = strip([view(packed, scenes[leak[name]])[0] for name in ("first", "second")])
        pictures.append(Picture(f"{leak['first']} and {leak['second']}", caption, pair))
    return pictures


def section(packed: PackedTiles, leaks: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return the values of the page's section on the data; `leaks` are the rows of leakage.csv."""
    return {
        "splits": split_rows(packed.report),
        "scenes": contact_sheet(packed),
        "leaks": leak_pictures(packed, leaks),
        "leak_count": len(leaks),
    }
