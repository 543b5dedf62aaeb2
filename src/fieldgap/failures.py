"""Where runs fail: their worst and median test tiles as pictures, and the pixels that variants disagree on."""

from __future__ import annotations

import base64
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pandas as pd

from fieldgap.charts.style import PALETTE
from fieldgap.compare import FINISHED, variant_of
from fieldgap.errors import InputError
from fieldgap.files import read_rows
from fieldgap.labels import IGNORE

if TYPE_CHECKING:
    from fieldgap.runs import Finished

LARGEST = 192  # px, a side of one picture: the page travels by mail.
MOST = 12  # variants in pictures
QUALITY = 80  # of WebP
# Classes in pictures: the first, which is what no one looks for, in grey.
CLASS_COLOURS = [(110, 110, 110)] + [
    tuple(bytes.fromhex(colour[1:])) for colour in (PALETTE[4], *PALETTE[:4], PALETTE[5])
]
MISSED, INVENTED, SWAPPED = (213, 94, 0), (0, 114, 178), (204, 121, 167)
UNKNOWN = (235, 235, 235)


@dataclass(frozen=True)
class HeldOut:
    """The test tiles: images (T, H, W, bands) and masks (T, H, W) uint8, and each tile's scene and corner in words."""

    images: np.ndarray
    masks: np.ndarray
    names: list[str]


@dataclass(frozen=True)
class Picture:
    """One row of pictures, as a data URI, and what it shows in words."""

    title: str
    says: str
    source: str


def read_tested(folder: Path, chosen: np.ndarray) -> HeldOut:
    """-> some tiles of a folder that stage normalize made. Raises InputError when a file is missing or broken."""
    rows = read_rows(folder / "tiles.csv")
    try:
        images, masks = (
            np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ("images", "masks")
        )
        names = [f"{rows[i]['scene']} at {rows[i]['x']}, {rows[i]['y']}" for i in chosen]
        return HeldOut(images[chosen], masks[chosen], names)
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{folder}: its tiles cannot be read ({error}); run normalize again") from None


def read_predictions(run: Finished) -> tuple[np.ndarray, np.ndarray]:
    """-> the numbers (T,) of a run's test tiles, and their predicted classes (T, H, W). Raises InputError."""
    path = run.folder / "predictions.npz"
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return file["tiles"], file["classes"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read ({error}); evaluate this run again") from None


def by_variant(runs: Sequence[Finished]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """-> the test tiles of the first finished run, and each variant's predictions (seeds, T, H, W) of them.

    Runs that were tested on other tiles, as with split_by: tile, are left out: their pictures could not be compared.
    """
    shared, found = np.zeros(0, np.int64), dict[str, list[np.ndarray]]()
    for run in runs:
        if run.status == FINISHED:
            tiles, classes = read_predictions(run)
            shared = shared if found else tiles
            if np.array_equal(tiles, shared):
                found.setdefault(variant_of(run.axes), []).append(classes)
    return shared, {variant: np.stack(each) for variant, each in found.items()}


def wrong(predicted: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """(..., T, H, W) classes and (T, H, W) truth -> whether each pixel is wrong; never where the class is not known."""
    return (predicted != masks) & (masks != IGNORE)


def worst_and_median(predicted: np.ndarray, masks: np.ndarray) -> tuple[int, int]:
    """(seeds, T, H, W) -> the tiles with the largest and with the median share of wrong pixels, mean over seeds."""
    order = np.argsort(wrong(predicted, masks).mean((0, 2, 3)), kind="stable")
    return int(order[-1]), int(order[(len(order) - 1) // 2])


def majority(predicted: np.ndarray) -> np.ndarray:
    """(runs, ...) classes -> (...) the class that most runs predict, the first of equals."""
    votes = np.stack([(predicted == each).sum(0) for each in range(int(predicted.max()) + 1)])
    return votes.argmax(0)


def seen(image: np.ndarray) -> np.ndarray:
    """(H, W, bands) -> (H, W, 3) for the eye: the first three bands, or the only one in grey."""
    return image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, -1)


def painted(classes: np.ndarray) -> np.ndarray:
    """(H, W) classes -> (H, W, 3): a colour a class, again from the start when they run out."""
    colours = np.array([CLASS_COLOURS[i % len(CLASS_COLOURS)] for i in range(256)], np.uint8)
    colours[IGNORE] = UNKNOWN
    return colours[classes]


def overlay(image: np.ndarray, mask: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """-> the faded picture, errors over it: the more of the `predicted` (runs, H, W) err at a pixel, the denser."""
    base = 0.35 * seen(image).mean(-1, keepdims=True).repeat(3, -1) + 150
    for colour, kind in (
        (MISSED, (mask != 0) & (predicted == 0)),
        (INVENTED, (mask == 0) & (predicted != 0)),
        (SWAPPED, (mask != 0) & (predicted != 0)),
    ):
        share = (kind & wrong(predicted, mask)).mean(0)[..., None]
        base = base * (1 - share) + share * np.array(colour)
    return np.clip(np.rint(base), 0, 255).astype(np.uint8)


def strip(pictures: Sequence[np.ndarray]) -> str:
    """(H, W, 3) each -> one row of them as the data URI of a WebP file, no larger than it is looked at."""
    rows = []
    for picture in pictures:
        scale = min(1.0, LARGEST / max(picture.shape[:2]))
        size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
        rows += [cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.full((size[1], 4, 3), 255, np.uint8)]
    row = np.ascontiguousarray(np.concatenate(rows[:-1], 1)[:, :, ::-1])
    data = cv2.imencode(".webp", row, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1].tobytes()
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"


def pictures(predicted: dict[str, np.ndarray], tested: HeldOut) -> list[Picture]:
    """-> for each variant its worst and its median tile: image, mask, prediction by most seeds, errors."""
    found = []
    for variant, each in list(predicted.items())[:MOST]:
        for kind, tile in zip(("worst", "median"), worst_and_median(each, tested.masks), strict=True):
            image, mask, here = tested.images[tile], tested.masks[tile], each[:, tile]
            share = wrong(here, mask).mean()
            row = strip([seen(image), painted(mask), painted(majority(here)), overlay(image, mask, here)])
            found.append(Picture(f"{variant}: {kind}", f"{tested.names[tile]}, {share:.1%} of its pixels wrong", row))
    return found


def disagreement(predicted: dict[str, np.ndarray]) -> pd.DataFrame:
    """-> one, other, share: test pixels on which two runs differ, mean over pairs of runs of the two variants.

    Of a variant and itself it is what seeds alone disagree on; nan with one seed.
    """
    names = list(predicted)
    runs = [(name, run) for name in names for run in predicted[name]]
    sums, counts = (dict.fromkeys(((a, b) for a in names for b in names), 0.0) for _ in range(2))
    for i, (one, a) in enumerate(runs):
        for other, b in runs[i + 1 :]:
            share = float((a != b).mean())
            for key in {(one, other), (other, one)}:
                sums[key], counts[key] = sums[key] + share, counts[key] + 1
    rows = [(*key, total / counts[key] if counts[key] else np.nan) for key, total in sums.items()]
    return pd.DataFrame(rows, columns=["one", "other", "share"])


def disputed(predicted: dict[str, np.ndarray], tested: HeldOut) -> Picture | None:
    """-> the tile on which the variants' majorities differ most: image, mask, and how many variants dissent where."""
    if len(predicted) < 2:
        return None
    votes = np.stack([majority(each) for each in predicted.values()])
    dissent = (votes != majority(votes)).mean(0)
    tile = int(dissent.mean((1, 2)).argmax())
    heat = dissent[tile][..., None] * 2  # Half of all variants is as much as can dissent between two classes.
    picture = np.clip(255 * (1 - heat) + heat * np.array(MISSED), 0, 255).astype(np.uint8)
    row = strip([seen(tested.images[tile]), painted(tested.masks[tile]), picture])
    share = (dissent[tile] > 0).mean()
    return Picture("most disputed", f"{tested.names[tile]}, variants differ on {share:.1%} of its pixels", row)
