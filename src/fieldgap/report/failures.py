"""Where runs fail: their worst and median test tiles as pictures, and the pixels that variants disagree on."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fieldgap.analysis.ablation import FINISHED, variant_of
from fieldgap.base.errors import InputError
from fieldgap.base.files import read_rows
from fieldgap.base.labels import IGNORE
from fieldgap.report.pictures import Picture, painted, seen, strip

if TYPE_CHECKING:
    from fieldgap.analysis.runs import Finished

MOST = 12  # variants in pictures
MISSED, INVENTED, SWAPPED = (213, 94, 0), (0, 114, 178), (204, 121, 167)


@dataclass(frozen=True)
class HeldOut:
    """The test tiles: images (T, H, W, bands) and masks (T, H, W) uint8, and each tile's scene and corner in words."""

    images: np.ndarray
    masks: np.ndarray
    names: list[str]


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


def counted(predicted: np.ndarray, classes: int) -> np.ndarray:
    """(runs, ...) classes -> (classes, ...) how many runs vote for each class."""
    return np.stack([(predicted == each).sum(0, dtype=np.int32) for each in range(classes)])


def by_variant(runs: Sequence[Finished], classes: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """-> the test tiles of the first finished run, and the votes (classes, T, H, W) of each variant's runs on them.

    Votes, since the predictions of a large grid would not fit into memory. Runs that were tested on other tiles, as
    with split_by: tile, are left out: their pictures could not be compared.
    """
    shared, found = np.zeros(0, np.int64), dict[str, np.ndarray]()
    for run in runs:
        if run.status == FINISHED:
            tiles, predicted = read_predictions(run)
            shared = shared if found else tiles
            if np.array_equal(tiles, shared):
                variant, votes = variant_of(run.axes), counted(predicted[None], classes)
                found[variant] = found[variant] + votes if variant in found else votes
    return shared, found


def voters(votes: np.ndarray) -> int:
    """(classes, ...) votes -> how many runs voted at each pixel."""
    return int(votes.reshape(len(votes), -1)[:, 0].sum())


def wrong(votes: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """(classes, ...) votes and (...) truth -> how many runs are wrong at a pixel; none where the class is not known."""
    known = masks != IGNORE
    right = np.take_along_axis(votes, np.where(known, masks, 0)[None].astype(np.int64), 0)[0]
    return (voters(votes) - right) * known


def worst_and_median(votes: np.ndarray, masks: np.ndarray) -> tuple[int, int]:
    """(classes, T, H, W) -> the tiles with the largest and with the median share of wrong pixels, mean over seeds."""
    order = np.argsort(wrong(votes, masks).mean((1, 2)), kind="stable")
    return int(order[-1]), int(order[(len(order) - 1) // 2])


def majority(votes: np.ndarray) -> np.ndarray:
    """(classes, ...) votes -> (...) the class that most runs predict, the first of equals."""
    return votes.argmax(0)


def overlay(image: np.ndarray, mask: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """-> the faded picture, errors over it: the more runs err at a pixel by their votes (classes, H, W), the denser."""
    base = 0.35 * seen(image).mean(-1, keepdims=True).repeat(3, -1) + 150
    errors, background = wrong(votes, mask), votes[0]
    for colour, kind in (
        (MISSED, np.where(mask != 0, background, 0) * (mask != IGNORE)),
        (INVENTED, np.where(mask == 0, errors, 0)),
        (SWAPPED, np.where((mask != 0) & (mask != IGNORE), errors - background, 0)),
    ):
        share = (kind / voters(votes))[..., None]
        base = base * (1 - share) + share * np.array(colour)
    return np.clip(np.rint(base), 0, 255).astype(np.uint8)


def pictures(votes: dict[str, np.ndarray], tested: HeldOut) -> list[Picture]:
    """-> for each variant its worst and its median tile: image, mask, prediction by most seeds, errors."""
    found = []
    for variant, each in list(votes.items())[:MOST]:
        for kind, tile in zip(("worst", "median"), worst_and_median(each, tested.masks), strict=True):
            image, mask, here = tested.images[tile], tested.masks[tile], each[:, tile]
            share = wrong(here, mask).mean() / voters(here)
            row = strip([seen(image), painted(mask), painted(majority(here)), overlay(image, mask, here)])
            found.append(Picture(f"{variant}: {kind}", f"{tested.names[tile]}, {share:.1%} of its pixels wrong", row))
    return found


def disagreement(votes: dict[str, np.ndarray]) -> pd.DataFrame:
    """-> one, other, share: test pixels on which two runs differ, mean over pairs of runs of the two variants.

    Of a variant and itself it is what seeds alone disagree on; nan with one seed. From votes: two runs agree at a pixel
    where both vote for one class, so all pairs need not be gone through.
    """
    rows = []
    flat = {name: each.ravel().astype(np.float64) for name, each in votes.items()}  # Exact up to 2**53.
    for one, a in flat.items():
        for other, b in flat.items():
            pixels, mine, theirs = votes[one][0].size, voters(votes[one]), voters(votes[other])
            with_itself = mine * pixels if one == other else 0
            pairs = mine * theirs * pixels - with_itself
            rows.append((one, other, 1 - (float(a @ b) - with_itself) / pairs if pairs else np.nan))
    return pd.DataFrame(rows, columns=["one", "other", "share"])


def disputed(votes: dict[str, np.ndarray], tested: HeldOut) -> Picture | None:
    """-> the tile on which the variants' majorities differ most: image, mask, and how many variants dissent where."""
    if len(votes) < 2:
        return None
    chosen = np.stack([majority(each) for each in votes.values()])
    dissent = (chosen != majority(counted(chosen, len(next(iter(votes.values())))))).mean(0)
    tile = int(dissent.mean((1, 2)).argmax())
    heat = dissent[tile][..., None] * 2  # Half of all variants is as much as can dissent between two classes.
    picture = np.clip(255 * (1 - heat) + heat * np.array(MISSED), 0, 255).astype(np.uint8)
    row = strip([seen(tested.images[tile]), painted(tested.masks[tile]), picture])
    share = (dissent[tile] > 0).mean()
    return Picture("most disputed", f"{tested.names[tile]}, variants differ on {share:.1%} of its pixels", row)
