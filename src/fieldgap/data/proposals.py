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
SCATTER, NEAR = 24, 0.9  # How far blurred values lie from a level, and the share of pixels that must lie so near.
FEW = 8  # So few values are no blur; messages list no more either.


def _channels(value: str) -> np.ndarray:
    parsed = parse_value(value)
    return np.array(parsed if isinstance(parsed, tuple) else (parsed,) * 3)


def _apart(one: str, other: str) -> int:
    return int(np.abs(_channels(one) - _channels(other)).max())


def _levels(counts: Mapping[str, int], inner: Mapping[str, int]) -> list[str]:
    """Return the values around which the others scatter: the commonest first, none near another, none of few pixels."""
    levels: list[str] = []
    for value in sorted(counts, key=lambda value: -counts[value]):
        common = counts[value] * 100 >= sum(counts.values()) and inner[value] * 10 >= counts[value]
        if common and all(_apart(value, level) > SCATTER for level in levels):
            levels.append(value)
    return levels


def _unblurred(counts: Mapping[str, int], inner: Mapping[str, int]) -> list[str]:
    """Return the two values of which all others are blurred edges.

    Raises:
        ValueError: There are not two, or too many pixels have other values.
    """
    levels, total = _levels(counts, inner), sum(counts.values())
    if len(levels) != 2 or _apart(*levels) < 2 * SCATTER:
        found = f"{len(levels)} values ({', '.join(levels[:FEW])})" if levels else "no values"
        raise ValueError(
            f"{len(counts)} values of which {found} fill areas; the masks are no labels, or were resized or saved as "
            "JPEG, which mixes neighbouring classes: save them again without loss, resized to the nearest pixel"
        )
    near = sum(count for value, count in counts.items() if min(_apart(value, level) for level in levels) <= SCATTER)
    if near < NEAR * total:
        raise ValueError(f"{1 - near / total:.0%} of the pixels lie between {' and '.join(levels)}, too many for edges")
    return levels


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


def propose(masks: Sequence[Mapping[str, int]], inner: Sequence[Mapping[str, int]] | None = None) -> dict[str, object]:
    """Return the keys of `data` that accept all masks.

    Two numbers are background and farmland. Colours, or more numbers, are classes of their own, the darkest one the
    background. 255 beside smaller numbers in one mask means unlabelled; if it only occurs in other masks than they do,
    both are farmland. Numbers below 0 mean unlabelled if two others remain. If most values fill no area, or some lie
    just short of 255, two values have blurred edges.

    Args:
        masks: For each mask the number of pixels of each value.
        inner: For each mask how many of these pixels have four neighbours of the same value. Unless it is given, many
            values count as blurred.

    Raises:
        ValueError: No table would accept them; the message says why, to follow "the values are not understood: ".
    """
    counts, within = _total(masks), _total(masks if inner is None else inner)
    nearly_white = any(str(value) in counts for value in range(255 - MAX_VALUES, 255))
    blurred = (nearly_white and {"0", "255"} <= counts.keys()) or len(counts) > MAX_VALUES
    if inner is not None and len(counts) > FEW:
        blurred = 2 * sum(10 * within[value] >= count for value, count in counts.items()) < len(counts)
    values = sorted(_unblurred(counts, within) if blurred else counts, key=lambda value: _channels(value).tolist())
    if len(values) < 2:
        raise ValueError(f"all masks have the value {values[0]} alone" if values else "there are none")
    if len(values) > IGNORE - 1:
        raise ValueError(f"{len(values)} values, more than {IGNORE - 1} classes; the masks may number single objects")
    tolerance: dict[str, object] = {"tolerance": min(BLUR, _apart(*values) // 2)} if blurred else {}
    if any(value.startswith("#") for value in counts):
        return _named_classes(values, range(1, len(values))) | tolerance
    return _numbers([int(value) for value in values], masks) | tolerance


def _total(masks: Sequence[Mapping[str, int]]) -> Counter[str]:
    """Return the sum over masks, all values as colours if any is one."""
    total: Counter[str] = Counter()
    for mask in masks:
        total.update(mask)
    if any(value.startswith("#") for value in total):
        return sum((Counter({value_text(_channels(value)): count}) for value, count in total.items()), Counter())
    return total


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
