"""Where runs fail, in pictures: the worst and median test tile of each variant, and the tile they disagree on most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.base.labels import IGNORE
from fieldgap.report.pictures import Picture, painted, strip, visible
from fieldgap.report.votes import count_votes, majority, voters, wrong_votes

if TYPE_CHECKING:
    from fieldgap.tiles.packed import PackedTiles

MOST = 12  # Variants in pictures.
MISSED, FALSE_ALARM, CONFUSED = (213, 94, 0), (0, 114, 178), (204, 121, 167)


@dataclass(frozen=True)
class HeldOutTiles:
    """The test tiles that all runs predicted.

    Attributes:
        images: Pixels (T, H, W, bands) in uint8.
        masks: Class indices (T, H, W) in uint8.
        names: Scene and corner of each tile, in words.
    """

    images: np.ndarray
    masks: np.ndarray
    names: list[str]


def held_out(packed: PackedTiles, chosen: np.ndarray) -> HeldOutTiles:
    """Return the tiles with the numbers `chosen` (T,).

    Raises:
        InputError: One of them does not exist.
    """
    if (last := chosen.max(initial=-1)) >= len(packed.masks):
        raise InputError(f"predictions.npz: is of a tile {last}, which the tiles lack; evaluate all runs again")
    names = [f"{packed.scenes[tile]} at {packed.corners[tile][1]}, {packed.corners[tile][0]}" for tile in chosen]
    return HeldOutTiles(packed.images[chosen], packed.masks[chosen], names)


def worst_and_median(votes: np.ndarray, masks: np.ndarray) -> tuple[int, int]:
    """Return the tiles with the largest and the median share of wrong pixels, averaged over seeds."""
    order = np.argsort(wrong_votes(votes, masks).mean((1, 2)), kind="stable")
    return int(order[-1]), int(order[(len(order) - 1) // 2])


def overlay(image: np.ndarray, mask: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Return a faded image (H, W, 3) with errors over it, in stronger colours where more runs are wrong.

    Args:
        image: The tile (H, W, bands).
        mask: Its classes (H, W).
        votes: Votes (classes, H, W) on it.
    """
    canvas = 0.35 * visible(image).mean(-1, keepdims=True).repeat(3, -1) + 150
    errors, background = wrong_votes(votes, mask), votes[0]
    for colour, runs in (
        (MISSED, np.where(mask != 0, background, 0) * (mask != IGNORE)),
        (FALSE_ALARM, np.where(mask == 0, errors, 0)),
        (CONFUSED, np.where((mask != 0) & (mask != IGNORE), errors - background, 0)),
    ):
        share = (runs / voters(votes))[..., None]
        canvas = canvas * (1 - share) + share * np.array(colour)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def _tile_picture(title: str, tile: int, votes: np.ndarray, tested: HeldOutTiles) -> Picture:
    image, mask, here = tested.images[tile], tested.masks[tile], votes[:, tile]
    share = wrong_votes(here, mask).mean() / voters(here)
    row = strip([visible(image), painted(mask), painted(majority(here)), overlay(image, mask, here)])
    return Picture(title, f"{tested.names[tile]}, {share:.1%} of its pixels wrong", row)


def failure_pictures(votes: dict[str, np.ndarray], tested: HeldOutTiles) -> list[Picture]:
    """Return the worst and the median tile of each variant: image, mask, prediction of most seeds, errors."""
    return [
        _tile_picture(f"{variant}: {kind}", tile, counts, tested)
        for variant, counts in list(votes.items())[:MOST]
        for kind, tile in zip(("worst", "median"), worst_and_median(counts, tested.masks), strict=True)
    ]


def disputed_picture(votes: dict[str, np.ndarray], tested: HeldOutTiles) -> Picture | None:
    """Return the tile on which the variants' majorities differ most: image, mask, and the share that dissents where."""
    if len(votes) < 2:
        return None
    majorities = np.stack([majority(counts) for counts in votes.values()])
    classes = len(next(iter(votes.values())))
    dissent = (majorities != majority(count_votes(majorities, classes))).mean(0)
    tile = int(dissent.mean((1, 2)).argmax())
    heat = dissent[tile][..., None] * 2  # Between two classes, no more than half of all variants can dissent.
    picture = np.clip(255 * (1 - heat) + heat * np.array(MISSED), 0, 255).astype(np.uint8)
    row = strip([visible(tested.images[tile]), painted(tested.masks[tile]), picture])
    share = (dissent[tile] > 0).mean()
    return Picture("most disputed", f"{tested.names[tile]}, variants differ on {share:.1%} of its pixels", row)
