"""What to write in params.yaml: for masks that the settings do not fit, and for the sizes of scenes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fieldgap.base.labels import IGNORE, parse_value
from fieldgap.data.masks import MAX_VALUES, value_text

USED, ADDED = 0.98, 0.1  # The least share of pixels to use, and the largest to add by padding.
BLUR = 127  # The tolerance that assigns each grey to the nearer one of 0 and 255.


def _channels(value: str) -> np.ndarray:
    parsed = parse_value(value)
    return np.array(parsed if isinstance(parsed, tuple) else (parsed,) * 3)


def _peaks(counts: Mapping[str, int]) -> list[str]:
    # The values around which the others scatter: the commonest first, none near another one, none of few pixels.
    peaks: list[str] = []
    for value in sorted(counts, key=lambda value: -counts[value]):
        far = all(np.abs(_channels(value) - _channels(peak)).max() > BLUR for peak in peaks)
        if far and counts[value] * 100 >= sum(counts.values()):
            peaks.append(value)
    return peaks


def _named_classes(values: Sequence[object], names: Sequence[object]) -> dict[str, object]:
    others = {f"class_{name}".replace("-", "minus_"): [value] for name, value in zip(names, values[1:], strict=True)}
    return {"classes": {"background": [values[0]], **others}}


def _numbers(numbers: list[int], masks: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    below = [number for number in numbers if number < 0]
    if below and len(numbers) >= len(below) + 2:
        proposal = _numbers(numbers[len(below) :], masks)
        return proposal | {"ignore": [*below, *proposal.get("ignore", [])]}
    ignore: dict[str, object] = {}
    if len(numbers) > 2 and numbers[-1] == IGNORE and numbers[-2] < MAX_VALUES:
        others = {str(number) for number in numbers[1:-1]}
        if not any("255" in mask and others & mask.keys() for mask in masks):
            return {"foreground": numbers[1:], "background": numbers[:1]}
        ignore = {"ignore": [numbers.pop()]}
    if len(numbers) == 2:
        return {"foreground": numbers[1:], "background": numbers[:1], **ignore}
    return _named_classes(numbers, numbers[1:]) | ignore


def propose(masks: Sequence[Mapping[str, int]]) -> dict[str, object] | None:
    """Return the keys of `data` that would accept all masks, or None if no table would.

    Two numbers are background and farmland. Colours, or more numbers, are classes of their own, the darkest one the
    background. 255 beside smaller numbers in one mask means unlabelled; if it only occurs in other masks than they do,
    both are farmland. Numbers below 0 mean unlabelled if two others remain. Many values, or some just short of 255, are
    a few values with blurred edges.

    Args:
        masks: For each mask the number of pixels of each value.
    """
    counts: Counter[str] = Counter()
    for mask in masks:
        counts.update(mask)
    if coloured := any(value.startswith("#") for value in counts):
        counts = sum((Counter({value_text(_channels(value)): count}) for value, count in counts.items()), Counter())
    nearly_white = any(str(value) in counts for value in range(255 - MAX_VALUES, 255))
    blurred = len(counts) > MAX_VALUES or (nearly_white and {"0", "255"} <= counts.keys())
    values = sorted(_peaks(counts) if blurred else counts, key=lambda value: _channels(value).tolist())
    if not 2 <= len(values) <= MAX_VALUES:
        return None
    tolerance: dict[str, object] = {"tolerance": BLUR} if blurred else {}
    if coloured:
        return _named_classes(values, range(1, len(values))) | tolerance
    return _numbers([int(value) for value in values], masks) | tolerance


def as_yaml(value: object) -> str:
    """Return a proposed value as YAML in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {as_yaml(entry)}" for name, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_yaml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _padded(side: int, tile: int) -> int:
    return -(-side // tile) * tile


def _share(shapes: Mapping[tuple[int, int], int], tile: int, *, pad: bool) -> float:
    """Return the pixels that tiles take as a share of the scenes' pixels: above 1 what padding adds, below 1 a loss."""
    pixels = sum(height * width * count for (height, width), count in shapes.items())
    whole = _padded if pad else lambda side, tile: side // tile * tile
    return sum(whole(height, tile) * whole(width, tile) * count for (height, width), count in shapes.items()) / pixels


def used_share(shapes: Mapping[tuple[int, int], int], normalize: Mapping[str, object]) -> float:
    """Return the share of the scenes' pixels that lie in tiles of proposed values."""
    return 1.0 if "pad" in normalize else _share(shapes, int(str(normalize["tile"])), pad=False)


def propose_tiles(shapes: Mapping[tuple[int, int], int]) -> dict[str, object]:
    """Return the keys of `normalize` that cut scenes into tiles of which few leave pixels out.

    A usual size wins if it loses little, or else if padding adds little. Otherwise it is the size that adds the least.

    Args:
        shapes: How many scenes have each height and width in px.
    """
    shortest = min(min(shape) for shape in shapes)
    large = 256 if shortest >= 512 else 128 if shortest >= 128 else 64 if shortest >= 64 else 32
    usual = [(tile, pad) for pad in (False, True) for tile in (large, large // 2) if tile >= 32]
    others = [(tile, True) for tile in range(max(large // 2, 32), min(2 * large, 256) + 1, 16)]
    shares = {choice: _share(shapes, choice[0], pad=choice[1]) for choice in (*usual, *others)}
    fitting = (choice for choice in usual if USED <= shares[choice] <= 1 + ADDED)
    tile, pad = next(fitting, None) or min(others, key=lambda choice: (shares[choice], -choice[0]))
    return {"tile": tile, **({"pad": True} if pad and shares[tile, pad] != 1 else {})}
