"""Masks with a palette: their values are positions, and only the palette says what they look like.

The trap: a program that saves few colours may number them anew in each file, so that one number is farmland here and
forest there. Values are read as numbers only while they look the same in all files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.data.raster import Raster

GREYS = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)
Looks = Mapping[str, str]  # The colour that each value of a mask has in its palette.


def indexed(positions: np.ndarray, colours: Sequence[int], valid: np.ndarray | None) -> Raster:
    """Return a mask with a palette: its positions, or its greys if the palette holds only greys.

    Args:
        positions: (H, W) uint8.
        colours: Red, green and blue of each position, one after another.
        valid: (H, W) bool or None.
    """
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colours) // 3] = np.array(colours, np.uint8).reshape(-1, 3)
    if (palette == palette[:, :1]).all():
        return Raster(palette[positions][:, :, :1], valid, None, GREYS)
    return Raster(positions[:, :, None], valid, None, palette)


def in_colours(raster: Raster) -> Raster:
    """Return a mask with the colours (H, W, 3) of its palette in place of its values (H, W, 1)."""
    if raster.palette is None:
        return raster
    return replace(raster, pixels=raster.palette[raster.pixels[:, :, 0]], palette=None)


def looks(raster: Raster, values: Iterable[str]) -> Looks:
    """Return the colour of each value of a mask, none if it has no palette."""
    if raster.palette is None:
        return {}
    return {value: "#" + bytes(raster.palette[int(value)].tolist()).hex() for value in values}


def by_colour(counts: Mapping[str, int], colours: Looks) -> Counter[str]:
    """Return the number of pixels of each colour of a mask, from those of its values; a grey is its own colour."""
    found: Counter[str] = Counter()
    for value, count in counts.items():
        found[colours.get(value, value)] += count
    return found


def check_palettes(masks: Iterable[tuple[Path, Looks]]) -> None:
    """Check that each value has one colour in all masks.

    Raises:
        InputError: A value has two. The message names the first two files that differ.
    """
    known: dict[str, tuple[Path, str]] = {}
    for path, colours in masks:
        for value, colour in colours.items():
            first, known_colour = known.setdefault(value, (path, colour))
            if colour != known_colour:
                raise InputError(
                    f"{path}: the palette shows its value {value} as {colour}, that of {first.name} as {known_colour}; "
                    f"numbers do not mean the same in both, so list colours like '{colour}' in place of numbers"
                )
