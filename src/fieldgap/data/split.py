"""Stage split: scenes into train, val and test, so that no group of scenes gives tiles to two of them."""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.base.files import read_rows, write_rows
from fieldgap.base.labels import IGNORE
from fieldgap.data.pairs import pair

if TYPE_CHECKING:
    from fieldgap.settings.sections import Data, Split

SPLITS = ("train", "val", "test")
Paths = Mapping[str, tuple[Path, Path]]
Row = dict[str, str]


def position(name: str, seed: int) -> float:
    """-> a number in [0, 1) drawn from the name and the seed alone, so that adding a scene moves no other one."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign(name: str, val: float, test: float, seed: int) -> str:
    """-> the split that a group falls into, given the shares of val and test."""
    at = position(name, seed)
    return "val" if at < val else "test" if at < val + test else "train"


def fold_of(name: str, folds: int, seed: int) -> int:
    """-> the fold, from 0, of a group that is not in test; like its split, from its name and the seed alone."""
    return int(position(f"fold/{name}", seed) * folds)


def assign_strata(shares: Mapping[str, float], val: float, test: float, seed: int) -> dict[str, str]:
    """Each group's share of foreground -> its split, the shares of val and test held within each stratum.

    Strata are the quarters of the scale of shares. Within one, groups line up by position() and the first go to val,
    the next to test; a group that is added moves at most one other across each of the two borders of its stratum.
    """
    strata: dict[int, list[str]] = defaultdict(list)
    for name in sorted(shares, key=lambda name: position(name, seed)):
        strata[min(3, int(shares[name] * 4))].append(name)
    splits: dict[str, str] = {}
    for names in strata.values():
        first, second = round(val * len(names)), round((val + test) * len(names))
        splits |= dict.fromkeys(names[:first], "val") | dict.fromkeys(names[first:second], "test")
        splits |= dict.fromkeys(names[second:], "train")
    return splits


def read_table(path: Path, scenes: Iterable[str]) -> dict[str, Row]:
    """-> the user's row of each scene; nothing when the table has no row.

    Raises InputError when it lacks a scene, or names one twice or in vain.
    """
    rows = read_rows(path)
    if not rows:
        return {}
    if "scene" not in rows[0]:
        raise InputError(f"{path}: has no column scene; name there each image without its suffix")
    table = {row["scene"]: row for row in rows}
    if len(table) < len(rows):
        twice = next(name for name in table if sum(row["scene"] == name for row in rows) > 1)
        raise InputError(f"{path}: names the scene {twice} twice; remove one row")
    if lost := sorted(set(scenes) - table.keys()):
        raise InputError(f"{path}: lacks {len(lost)} scenes: {', '.join(lost)}; add a row for each, or empty the table")
    if vain := sorted(table.keys() - set(scenes)):
        raise InputError(f"{path}: names {len(vain)} scenes that are not there: {', '.join(vain)}; remove their rows")
    return table


def block_of(image: Path, size: float, max_pixels: int) -> str:
    """-> the square of side `size`, in the units of its reference system, that the centre of an image lies in."""
    from fieldgap.data.images import read_footprint

    if not (at := read_footprint(image, max_pixels)):
        raise InputError(f"{image}: is not georeferenced, so it lies in no block; choose another split.group")
    column, row = math.floor((at.west + at.east) / 2 / size), math.floor((at.south + at.north) / 2 / size)
    return f"{at.crs} {column} {row}"


def groups_of(scenes: Paths, how: str, table: Mapping[str, Row], max_pixels: int) -> dict[str, str]:
    """-> each scene's group: what must not be torn apart. Raises InputError when a scene has none."""
    kind, _, detail = how.partition(":")
    if kind == "scene":
        return {scene: scene for scene in scenes}
    if kind == "block":
        return {scene: block_of(image, float(detail), max_pixels) for scene, (image, _) in scenes.items()}
    if kind == "stem":
        found = {scene: re.search(detail, scene) for scene in scenes}
        groups = {scene: next(filter(None, (*m.groups(), m[0])), "") if m else "" for scene, m in found.items()}
    else:
        groups = {scene: table.get(scene, {}).get(detail) or "" for scene in scenes}
    if without := [scene for scene, group in groups.items() if not group]:
        raise InputError(
            f"split.group: {how} gives no group to {len(without)} of {len(scenes)} scenes: {', '.join(without)}; "
            "change it, or complete split.table"
        )
    return groups


def foreground_shares(scenes: Paths, groups: Mapping[str, str], data: Data) -> dict[str, float]:
    """-> each group's share of pixels of another class than the first. Raises InputError that lists unfit masks."""
    from fieldgap.data.reading import read_masks

    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for scene, mask in read_masks(scenes, data):
        known = mask.classes[mask.classes != IGNORE]
        counts[groups[scene]][0] += int(np.count_nonzero(known))
        counts[groups[scene]][1] += len(known)
    return {group: part / whole if whole else 0.0 for group, (part, whole) in counts.items()}


def chosen_splits(groups: Mapping[str, str], table: Mapping[str, Row], path: Path) -> dict[str, str]:
    """-> the split of each group by the user's own table. Raises InputError for a torn group or an unknown split."""
    chosen: dict[str, str] = {}
    for scene, group in groups.items():
        if (split := table[scene]["split"]) not in SPLITS:
            raise InputError(f"{path}: gives {scene} the split {split!r}; write one of {', '.join(SPLITS)}")
        if chosen.setdefault(group, split) != split:
            raise InputError(f"{path}: tears the group {group} into {chosen[group]} and {split}; keep it together")
    return chosen


def run(data: Data, out: Path, config: Split) -> None:
    """Writes `out` with one row a scene: scene, group, split, fold. Raises InputError when one would be empty."""
    scenes = pair(Path(data.images), Path(data.masks), data.mask_pattern)
    path = Path(config.table)
    table = read_table(path, scenes)
    groups = groups_of(scenes, config.group, table, data.max_pixels)
    names = sorted(set(groups.values()))
    if table and "split" in next(iter(table.values())):
        splits = chosen_splits(groups, table, path)
    elif config.stratify:
        splits = assign_strata(foreground_shares(scenes, groups, data), config.val, config.test, config.seed)
    else:
        splits = {name: assign(name, config.val, config.test, config.seed) for name in names}
    folds = {name: fold_of(name, config.folds, config.seed) if splits[name] != "test" else "" for name in names}
    lacking = [name for name in SPLITS if name not in splits.values()]
    if empty := lacking or [f"fold {fold}" for fold in range(config.folds) if fold not in folds.values()]:
        raise InputError(
            f"{data.images}: none of its {len(scenes)} scenes fell into {empty[0]}, as {len(names)} groups; "
            "change split.seed, split.folds or the shares split.val and split.test, or add scenes"
        )
    rows = ({"scene": scene, "group": group, "split": splits[group]} for scene, group in groups.items())
    write_rows(out, ({**row, "fold": folds[row["group"]] if config.folds else ""} for row in rows))
