"""What the runs learnt from and were tested on: the scenes of each split in numbers and pictures, and what leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.base.files import read_json, read_rows
from fieldgap.base.labels import IGNORE
from fieldgap.base.names import LEAKAGE
from fieldgap.report.pictures import LARGEST, UNKNOWN, Picture, painted, seen, strip

SPLITS = ("train", "val", "test")
SCENES = 4  # of each split in pictures
LEAKS = 12  # pairs in pictures
VALUES = 6  # of masks by name


@dataclass(frozen=True)
class Packed:
    """The packed tiles and what is told of them: images (N, H, W, bands), masks (N, H, W), a row a tile and a scene."""

    images: np.ndarray
    masks: np.ndarray
    tiles: dict[str, list[dict[str, str]]]
    scenes: dict[str, dict[str, Any]]
    leaks: list[dict[str, str]]


def read_packed(folder: Path) -> Packed:
    """-> the files of a folder that stage normalize made. Raises InputError when one is missing or broken."""
    tiles: dict[str, list[dict[str, str]]] = {}
    for row in read_rows(folder / "tiles.csv"):
        tiles.setdefault(row["scene"], []).append(row)
    scenes = {each["scene"]: each for each in read_json(folder / "mask_report.json")["scenes"]}
    try:
        images, masks = (np.load(folder / f"{n}.npy", mmap_mode="r", allow_pickle=False) for n in ("images", "masks"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: its tiles cannot be read ({error}); run normalize again") from None
    return Packed(images, masks, tiles, scenes, read_rows(folder / LEAKAGE))


def sizes(scenes: Sequence[Mapping[str, Any]]) -> str:
    """-> the size that all scenes share, or the smallest and the largest."""
    found = sorted({(each["width"] * each["height"], each["width"], each["height"]) for each in scenes})
    spelt = [f"{width} x {height}" for _, width, height in found]
    return spelt[0] if len(spelt) == 1 else f"{spelt[0]} to {spelt[-1]}"


def values_seen(scenes: Sequence[Mapping[str, Any]]) -> str:
    """-> the values of the masks, the commonest first."""
    values: Counter[str] = Counter()
    for each in scenes:
        values.update(each["values"])
    named = [value for value, _ in values.most_common(VALUES)]
    return ", ".join(named) + (f" and {len(values) - VALUES} more" if len(values) > VALUES else "")


def foreground(scene: Mapping[str, Any]) -> float:
    """-> the share of a scene's known pixels that are of another class than the first."""
    counts = [count for name, count in scene["pixels"].items() if name != "ignore"]
    return sum(counts[1:]) / sum(counts) if sum(counts) else 0.0


def split_rows(packed: Packed) -> list[dict[str, Any]]:
    """-> for each split what its scenes hold: how many, how large, shares of classes and of what is ignored."""
    rows = []
    for split in SPLITS:
        scenes = [each for each in packed.scenes.values() if each["split"] == split]
        if not scenes:
            continue
        pixels: Counter[str] = Counter()
        for each in scenes:
            pixels.update(each["pixels"])
        ignored, total = pixels.pop("ignore"), sum(each["height"] * each["width"] for each in scenes)
        known = max(pixels.total(), 1)
        rows.append(
            {
                "split": split,
                "scenes": len(scenes),
                "tiles": sum(each["tiles"] for each in scenes),
                "sizes": sizes(scenes),
                "shares": {name: count / known for name, count in pixels.items()},
                "ignored": ignored / total,
                "empty": sum(foreground(each) == 0 for each in scenes),
                "mask_values": values_seen(scenes),
                "snapped": sum(each["pixels_snapped"] for each in scenes) / total,
            }
        )
    return rows


def view(packed: Packed, scene: str) -> tuple[np.ndarray, np.ndarray]:
    """-> a scene put together from its tiles, made small: (H, W, 3) colours and (H, W) classes; gaps are unknown."""
    told, side = packed.scenes[scene], packed.masks.shape[1]
    step = max(1, min(side, max(told["height"], told["width"]) // (2 * LARGEST)))
    shape = (-(-told["height"] // step) + side, -(-told["width"] // step) + side)
    image, classes = np.full((*shape, 3), UNKNOWN, np.uint8), np.full(shape, IGNORE, np.uint8)
    for row in packed.tiles.get(scene, []):
        y, x, tile = int(row["y"]) // step, int(row["x"]) // step, int(row["tile"])
        small = np.s_[::step, ::step]
        mask = packed.masks[tile][small]
        window = np.s_[y : y + mask.shape[0], x : x + mask.shape[1]]
        image[window], classes[window] = seen(packed.images[tile][small]), mask
    height, width = told["height"] // step, told["width"] // step
    return image[:height, :width], classes[:height, :width]


def outlined(image: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """-> the picture with the borders of its classes, which shows a mask that is shifted."""
    edges = cv2.morphologyEx(classes, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    return np.where(edges[..., None], np.array((255, 0, 255), np.uint8), image)


def scene_row(packed: Packed, scene: str) -> str:
    image, classes = view(packed, scene)
    return strip([image, painted(classes), outlined(image, classes)])


def contact_sheet(packed: Packed) -> list[Picture]:
    """-> for each split scenes from the least to the most foreground: image, mask, and the image with its outlines."""
    pictures = []
    for split in SPLITS:
        scenes = sorted((s for s in packed.scenes.values() if s["split"] == split), key=foreground)
        chosen = np.unique(np.linspace(0, len(scenes) - 1, min(SCENES, len(scenes))).astype(int))
        for scene in (scenes[index] for index in chosen):
            says = f"{foreground(scene):.0%} foreground, {scene['width']} x {scene['height']} px"
            pictures.append(Picture(f"{split}: {scene['scene']}", says, scene_row(packed, scene["scene"])))
    return pictures


def leak_pictures(packed: Packed) -> list[Picture]:
    """-> pairs of scenes that show one place, side by side."""
    pictures = []
    for row in packed.leaks[:LEAKS]:
        says = f"{row['kind']}: {row['first_part']} and {row['second_part']}"
        pair = strip([view(packed, row["first"])[0], view(packed, row["second"])[0]])
        pictures.append(Picture(f"{row['first']} and {row['second']}", says, pair))
    return pictures


def data_section(tiles: Path) -> dict[str, Any]:
    """-> what the page's section on the data is filled with. Raises InputError."""
    packed = read_packed(tiles)
    return {
        "splits": split_rows(packed),
        "scenes": contact_sheet(packed),
        "leaks": leak_pictures(packed),
        "leak_count": len(packed.leaks),
    }
