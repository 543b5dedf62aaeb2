"""Raw masks to class indices, and what to write in params.yaml for masks that do not fit."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.base.labels import IGNORE, parse_value

FEW = 32  # As many values as a message or a table lists.
BLUR = 127  # The tolerance that gives each grey to the nearer one of 0 and 255.


@dataclass(
    frozen=True, eq=False
)  # Its arrays cannot be compared as one; meaning_of_few() remembers tables by identity.
class Table:
    """Which values of a mask mean what: (V,) numbers or (V, 3) colours, their classes (V,), the classes' names.

    A value that is not listed counts as the nearest one within `tolerance`, by its most distant channel.
    """

    values: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]
    tolerance: int

    @property
    def in_colour(self) -> bool:
        return self.values.ndim == 2


def make_table(classes: Mapping[str, Sequence[str]], ignore: Sequence[str], tolerance: int) -> Table:
    """Names with their values, and the values to ignore, as text -> the table. The settings have checked them."""
    listed = [(parse_value(text), index) for index, texts in enumerate(classes.values()) for text in texts]
    listed += [(parse_value(text), IGNORE) for text in ignore]
    values, indices = zip(*listed, strict=True)
    return Table(np.array(values), np.array(indices, np.uint8), tuple(classes), tolerance)


@dataclass(frozen=True)
class Classified:
    """Classes (H, W) uint8, the pixels of each value as text, and the pixels that were not of a listed value."""

    classes: np.ndarray
    values: Counter[str]
    snapped: int


def codes_of(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 1) or (H, W, 3) -> (H, W), one integer a pixel: its value, or red, green and blue one after another."""
    if pixels.shape[2] == 1:
        return pixels[:, :, 0]
    red, green, blue = (pixels[:, :, channel].astype(np.uint32) for channel in range(3))
    return red << 16 | green << 8 | blue


def tally_bytes(pixels: np.ndarray, band: int = 0, chosen: np.ndarray | None = None) -> np.ndarray:
    """(H, W) or (H, W, bands) uint8 -> (256,) int64, the pixels of each value in a band, where `chosen` is not 0."""
    if pixels.shape[0] * pixels.shape[1] < 2**24:  # OpenCV counts in float32, exact up to there, and much faster.
        return cv2.calcHist([pixels], [band], chosen, [256], [0, 256]).ravel().astype(np.int64)
    plane = pixels if pixels.ndim == 2 else pixels[:, :, band]
    return np.bincount(plane.ravel() if chosen is None else plane[chosen > 0], minlength=256)


def levels(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) codes -> the different ones (V,), ascending, and how many pixels each has (V,)."""
    if codes.dtype == np.uint32:
        return np.unique(codes, return_counts=True)
    counts = tally_bytes(codes) if codes.dtype == np.uint8 else np.bincount(codes.ravel())
    found = np.flatnonzero(counts)
    return found, counts[found]


def looked_up(codes: np.ndarray, found: np.ndarray, results: np.ndarray) -> np.ndarray:
    """-> (H, W) uint8, each pixel's result: `found` (V,) are all codes, ascending, and `results` (V,) theirs."""
    if codes.dtype == np.uint32:
        return results[np.searchsorted(found, codes)]
    table = np.zeros(256 if codes.dtype == np.uint8 else 65536, np.uint8)
    table[found] = results
    return cv2.LUT(codes, table) if codes.dtype == np.uint8 else table[codes]


def values_of(found: np.ndarray, channels: int) -> np.ndarray:
    """(V,) codes -> (V, channels) the values that they stand for."""
    return found[:, None] if channels == 1 else np.stack([found >> 16, found >> 8 & 255, found & 255], 1)


def tally(pixels: np.ndarray) -> Counter[str]:
    """A mask's pixels (H, W, 1 or 3) -> how many there are of each value."""
    found, counts = levels(codes_of(pixels))
    spellings = map(spelt, values_of(found, pixels.shape[2]))
    return Counter(dict(zip(spellings, counts.tolist(), strict=True)))


def spelt(value: np.ndarray) -> str:
    """-> a value as params.yaml spells it: 255, or #ff0000."""
    return str(value[0]) if len(value) == 1 else "#" + "".join(f"{channel:02x}" for channel in value)


@dataclass(frozen=True)
class Meaning:
    """What a mask's values (V,) are to a table: as text, the class of the nearest listed one, and which are not listed.

    `unknown` are those beyond the tolerance too.
    """

    spelt: list[str]
    classes: np.ndarray
    unlisted: np.ndarray
    unknown: list[str]


def meaning(table: Table, found: np.ndarray, channels: int) -> Meaning:
    """(V,) codes -> what they mean."""
    values = values_of(found, channels)
    known = table.values if table.in_colour else table.values[:, None]
    distance = np.abs(values[:, None].astype(np.int64) - known[None]).max(2)
    nearest, distance = distance.argmin(1), distance.min(1)
    texts = [spelt(value) for value in values]
    unknown = [texts[each] for each in np.flatnonzero(distance > table.tolerance)]
    return Meaning(texts, table.classes[nearest], distance > 0, unknown)


@functools.lru_cache(maxsize=64)
def meaning_of_few(table: Table, found: tuple[int, ...], channels: int) -> Meaning:
    """-> meaning(), remembered: most masks of a set hold the same few values."""
    return meaning(table, np.array(found), channels)


def classify(pixels: np.ndarray, valid: np.ndarray | None, table: Table, path: Path) -> Classified:
    """A mask's pixels (H, W, 1 or 3) -> its classes. Raises UnfitMaskError for values that the table does not know.

    Where `valid` is False the class is IGNORE, unless the table lists the value: many masks declare their background
    as no data.
    """
    if table.in_colour and pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, 2)
    codes = codes_of(pixels)
    found, counts = levels(codes)
    remembered = meaning_of_few(table, tuple(found.tolist()), pixels.shape[2]) if len(found) <= FEW else None
    meant = remembered or meaning(table, found, pixels.shape[2])
    tallied = Counter(dict(zip(meant.spelt, counts.tolist(), strict=True)))
    if pixels.shape[2] != (3 if table.in_colour else 1):
        raise UnfitMaskError(path, tallied, "is in colour")
    if meant.unknown:
        more = " ..." if len(meant.unknown) > FEW else ""
        raise UnfitMaskError(path, tallied, f"holds {', '.join(meant.unknown[:FEW])}{more}")
    classes = looked_up(codes, found, meant.classes)
    if valid is not None:
        classes[~valid & (looked_up(codes, found, meant.unlisted.astype(np.uint8)) > 0)] = IGNORE
    return Classified(classes, tallied, int(counts[meant.unlisted].sum()))


class UnfitMaskError(InputError):
    """A mask whose values the parameters do not list; `values` counts its pixels of each."""

    def __init__(self, path: Path, values: Counter[str], says: str) -> None:
        super().__init__(f"{path}: {says}, which data.foreground, background, ignore or classes do not list")
        self.values = values


def channels(value: str) -> np.ndarray:
    """-> a spelt value as three channels; a grey has equal ones."""
    parsed = parse_value(value)
    return np.array(parsed if isinstance(parsed, tuple) else (parsed,) * 3)


def peaks(values: Mapping[str, int]) -> list[str]:
    """-> the values that the others crowd around: the commonest first, none within BLUR of another.

    A value with less than one pixel in a hundred is no peak.
    """
    found: list[str] = []
    for value in sorted(values, key=lambda value: -values[value]):
        far = all(np.abs(channels(value) - channels(peak)).max() > BLUR for peak in found)
        if far and values[value] * 100 >= sum(values.values()):
            found.append(value)
    return found


def propose(masks: Sequence[Mapping[str, int]]) -> dict[str, object] | None:
    """Pixels of each value, mask by mask -> the keys of `data` that would accept them; None when no table would.

    Two numbers are background and farmland, colours or more numbers are classes of their own, the darkest the
    background. 255 beside smaller numbers in one mask is what class masks leave out; in masks of their own both are
    farmland. Many values, or some just short of 255, are the blurred edges of a few.
    """
    values: Counter[str] = Counter()
    for mask in masks:
        values.update(mask)
    if coloured := any(value.startswith("#") for value in values):
        values = sum((Counter({spelt(channels(value)): count}) for value, count in values.items()), Counter())
    short = any(str(value) in values for value in range(255 - FEW, 255))
    blurred = len(values) > FEW or (short and {"0", "255"} <= values.keys())
    kept = sorted(peaks(values) if blurred else values, key=lambda value: channels(value).tolist())
    if not 2 <= len(kept) <= FEW:
        return None
    found: dict[str, object] = {"tolerance": BLUR} if blurred else {}
    if coloured:
        return {"classes": {"background": kept[:1]} | {f"class_{i}": [c] for i, c in enumerate(kept[1:], 1)}} | found
    numbers = [int(value) for value in kept]
    if len(numbers) > 2 and numbers[-1] == IGNORE and numbers[-2] < FEW:
        others = {str(number) for number in numbers[1:-1]}
        if not any("255" in mask and others & mask.keys() for mask in masks):
            return {"foreground": numbers[1:], "background": numbers[:1]} | found
        found["ignore"] = [numbers.pop()]
    if len(numbers) == 2:
        return {"foreground": numbers[1:], "background": numbers[:1]} | found
    return {"classes": {"background": numbers[:1]} | {f"class_{n}": [n] for n in numbers[1:]}} | found
