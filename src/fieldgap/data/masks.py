"""Raw masks to class indices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.base.labels import HIGHEST, IGNORE, LOWEST, parse_value
from fieldgap.data.palettes import Looks
from fieldgap.data.whole import NO_VALUE

if TYPE_CHECKING:
    from fieldgap.settings.sections import Data

FAR = 2**20  # A distance that no tolerance reaches.
MAX_VALUES = 32  # A mask with more values than this is blurred, not labelled; messages list no more either.


@dataclass(frozen=True, eq=False)
class Table:
    """The meaning of mask values.

    A value that is not listed counts as the nearest listed one if each of its channels is within `tolerance`.

    Attributes:
        values: (V,) numbers or (V, 3) colours.
        classes: (V,) class index of each value, or IGNORE.
        tolerance: Largest difference in any channel.
    """

    values: np.ndarray
    classes: np.ndarray
    tolerance: int

    @property
    def in_colour(self) -> bool:
        """Whether the values are colours."""
        return self.values.ndim == 2


def make_table(classes: Mapping[str, Sequence[str]], ignore: Sequence[str], tolerance: int) -> Table:
    """Return the table for classes given as text, which the settings have checked."""
    listed = [(parse_value(text), index) for index, texts in enumerate(classes.values()) for text in texts]
    listed += [(parse_value(text), IGNORE) for text in ignore]
    values, indices = zip(*listed, strict=True)
    return Table(np.array(values), np.array(indices, np.uint8), tolerance)


def table_of(data: Data) -> Table:
    """Return the table that the settings describe."""
    return make_table(data.table, data.ignore, data.tolerance)


@dataclass(frozen=True)
class Classified:
    """A mask as classes.

    Attributes:
        classes: (H, W) uint8, IGNORE where no class is known.
        counts: The number of pixels of each raw value.
        snapped: The number of pixels whose value was not listed but near a listed one.
        looks: The colour of each value in the palette that the mask has.
    """

    classes: np.ndarray
    counts: Counter[str]
    snapped: int
    looks: Looks = field(default_factory=dict)


class UnfitMaskError(InputError):
    """A mask with values that the settings do not list; `counts` has the number of pixels of each value."""

    def __init__(self, path: Path, counts: Counter[str], fault: str) -> None:
        super().__init__(f"{path}: {fault}, which data.foreground, background, ignore and classes do not list")
        self.counts = counts


def codes_of(pixels: np.ndarray) -> np.ndarray:
    """Return one integer per pixel (H, W) for a mask (H, W, 1) or (H, W, 3): its value, or its colour as 0xrrggbb."""
    if pixels.shape[2] == 1:
        return pixels[:, :, 0]
    red, green, blue = (pixels[:, :, channel].astype(np.uint32) for channel in range(3))
    return red << 16 | green << 8 | blue


def values_of(codes: np.ndarray, channels: int) -> np.ndarray:
    """Return the values (V, channels) that some codes (V,) stand for."""
    return codes[:, None] if channels == 1 else np.stack([codes >> 16, codes >> 8 & 255, codes & 255], 1)


def count_bytes(array: np.ndarray) -> np.ndarray:
    """Return how often each byte occurs (256,) in an array (H, W) of uint8."""
    if array.size < 2**24:  # OpenCV counts in float32, which is exact up to here, and much faster.
        return cv2.calcHist([array], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    return np.bincount(array.ravel(), minlength=256)


def count_codes(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct codes (V,), ascending, and the number of pixels of each (V,)."""
    if codes.dtype == np.uint32:
        return np.unique(codes, return_counts=True)
    if codes.dtype == np.int32:
        counts = np.bincount(codes.ravel() - LOWEST)
        distinct = np.flatnonzero(counts)
        return distinct + LOWEST, counts[distinct]
    counts = count_bytes(codes) if codes.dtype == np.uint8 else np.bincount(codes.ravel())
    distinct = np.flatnonzero(counts)
    return distinct, counts[distinct]


def look_up(codes: np.ndarray, distinct: np.ndarray, results: np.ndarray) -> np.ndarray:
    """Replace each code (H, W) by its result.

    Args:
        codes: (H, W).
        distinct: (V,) all codes that occur, ascending.
        results: (V,) uint8.
    """
    if codes.dtype == np.uint32:
        return results[np.searchsorted(distinct, codes)]
    if codes.dtype == np.int32:
        table = np.zeros(NO_VALUE - LOWEST + 1, np.uint8)
        table[distinct - LOWEST] = results
        return table[codes - LOWEST]
    table = np.zeros(256 if codes.dtype == np.uint8 else HIGHEST + 1, np.uint8)
    table[distinct] = results
    return cv2.LUT(codes, table) if codes.dtype == np.uint8 else table[codes]


def value_text(value: np.ndarray) -> str:
    """Return a value (1,) or colour (3,) as params.yaml spells it: 255, or #ff0000."""
    return str(value[0]) if len(value) == 1 else "#" + "".join(f"{channel:02x}" for channel in value)


def _counted(values: np.ndarray, counts: np.ndarray) -> Counter[str]:
    """Return the number of pixels of each value (V, channels), without those that have none."""
    numbers = values.shape[1] == 1
    pairs = zip(values, counts.tolist(), strict=True)
    return Counter({value_text(value): count for value, count in pairs if not (numbers and value[0] == NO_VALUE)})


def tally(pixels: np.ndarray) -> Counter[str]:
    """Return the number of pixels of each value of a mask (H, W, 1) or (H, W, 3)."""
    distinct, counts = count_codes(codes_of(pixels))
    return _counted(values_of(distinct, pixels.shape[2]), counts)


def tally_inner(pixels: np.ndarray) -> Counter[str]:
    """Return for each value of a mask (H, W, 1) or (H, W, 3) how many pixels have four neighbours of the same value."""
    codes = codes_of(pixels)
    middle = codes[1:-1, 1:-1]
    inside = (middle == codes[:-2, 1:-1]) & (middle == codes[2:, 1:-1])
    inside &= (middle == codes[1:-1, :-2]) & (middle == codes[1:-1, 2:])
    if not inside.any():
        return Counter()
    distinct, counts = count_codes(middle[inside][None])
    return _counted(values_of(distinct, pixels.shape[2]), counts)


def _nearest(table: Table, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the class of the listed value that is nearest to each value (V, channels), and the distance to it.

    A value below 0 is near to none but itself: it is a mark such as -1, and never a blurred edge.
    """
    listed = table.values if table.in_colour else table.values[:, None]
    distance = np.abs(values[:, None].astype(np.int64) - listed[None]).max(2)
    distance[(distance > 0) & (values.min(1) < 0)[:, None]] = FAR
    classes, nearest = table.classes[distance.argmin(1)], distance.min(1)
    if values.shape[1] == 1 and int(values[-1, 0]) == NO_VALUE:  # Values ascend.
        classes[-1], nearest[-1] = IGNORE, 0
    return classes, nearest


def _only_no_data(codes: np.ndarray, valid: np.ndarray | None, distinct: np.ndarray) -> np.ndarray:
    """Return which codes (V,) are below 0 and occur only where the mask declares no data, such as -9999."""
    if valid is None or distinct[0] >= 0:
        return np.zeros(len(distinct), bool)
    return np.array([code < 0 and not valid[codes == code].any() for code in distinct])


def classify(pixels: np.ndarray, valid: np.ndarray | None, table: Table, path: Path) -> Classified:
    """Return the classes of a mask.

    Args:
        pixels: (H, W, 1) values or (H, W, 3) colours.
        valid: (H, W) bool or None. A pixel without data is ignored, unless its value is listed: many masks declare
            their background as no data.
        table: The meaning of the values.
        path: The mask, for the message.

    Raises:
        UnfitMaskError: The mask has values that are not listed.
    """
    channels = pixels.shape[2]
    codes = codes_of(pixels)
    distinct, pixel_counts = count_codes(codes)
    values = values_of(distinct, channels)
    if table.in_colour and channels == 1 and distinct[0] >= 0 and distinct[-1] <= 255:
        values = np.repeat(values, 3, 1)  # A grey has three equal channels.
    counts = _counted(values, pixel_counts)
    if channels == 3 and not table.in_colour:
        raise UnfitMaskError(path, counts, "has colours")
    nearest, distance = _nearest(table, values)
    strange = (distance > table.tolerance) & ~_only_no_data(codes, valid, distinct)
    if unknown := [value_text(value) for value in values[strange]]:
        more = " ..." if len(unknown) > MAX_VALUES else ""
        raise UnfitMaskError(path, counts, f"contains {', '.join(unknown[:MAX_VALUES])}{more}")
    classes, unlisted = look_up(codes, distinct, nearest), distance > 0
    if valid is not None:
        classes[~valid & (look_up(codes, distinct, unlisted.astype(np.uint8)) > 0)] = IGNORE
    snapped = unlisted & (distance <= table.tolerance)
    return Classified(classes, counts, int(pixel_counts[snapped].sum()))
