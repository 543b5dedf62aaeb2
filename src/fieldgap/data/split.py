"""Stage split: scenes into train, val and test, where all scenes of a group go to the same split."""

from __future__ import annotations

import hashlib
import math
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.base.files import read_rows, write_rows
from fieldgap.base.labels import IGNORE
from fieldgap.data.pairs import ScenePaths, labelled_in

if TYPE_CHECKING:
    from fieldgap.settings.sections import Data, Split

SPLITS = ("train", "val", "test")
SHOWN = 12  # Names that a message lists.
Row = dict[str, str]


def position(name: str, seed: int) -> float:
    """Return a number in [0, 1) that depends only on name and seed, so that adding a scene moves no other one."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign(name: str, val: float, test: float, seed: int) -> str:
    """Return the split of a group, given the shares of val and test."""
    place = position(name, seed)
    return "val" if place < val else "test" if place < val + test else "train"


def fold_of(name: str, folds: int, seed: int) -> int:
    """Return the fold of a group, counting from 0."""
    return int(position(f"fold/{name}", seed) * folds)


def assign_strata(foreground: Mapping[str, float], val: float, test: float, seed: int) -> dict[str, str]:
    """Return the split of each group, with the shares of val and test kept within each stratum.

    Strata are the quarters of the foreground share. Within one, groups are ordered by `position`; the first go to val,
    the next to test. An added group moves at most one other across each of the two borders of its stratum.

    Args:
        foreground: Each group's share of foreground pixels.
        val: Share of groups in val.
        test: Share of groups in test.
        seed: Seed of the order.
    """
    strata: dict[int, list[str]] = defaultdict(list)
    for name in sorted(foreground, key=lambda name: position(name, seed)):
        strata[min(3, int(foreground[name] * 4))].append(name)
    splits: dict[str, str] = {}
    for names in strata.values():
        first, second = round(val * len(names)), round((val + test) * len(names))
        splits |= dict.fromkeys(names[:first], "val") | dict.fromkeys(names[first:second], "test")
        splits |= dict.fromkeys(names[second:], "train")
    return splits


def read_table(path: Path, scenes: Iterable[str]) -> dict[str, Row]:
    """Return the row of each scene in the user's own table; nothing if the table has no row.

    Raises:
        InputError: The table lacks a scene, or names one twice or one that does not exist.
    """
    rows = read_rows(path)
    if not rows:
        return {}
    if "scene" not in rows[0]:
        raise InputError(f"{path}: has no column scene; add one that names each image without its suffix")
    table = {row["scene"]: row for row in rows}
    if len(table) < len(rows):
        twice = next(name for name in table if sum(row["scene"] == name for row in rows) > 1)
        raise InputError(f"{path}: names the scene {twice} twice; remove one row")
    if missing := sorted(set(scenes) - table.keys()):
        raise InputError(
            f"{path}: lacks {len(missing)} scenes: {', '.join(missing)}; add a row for each, or empty the table"
        )
    if unknown := sorted(table.keys() - set(scenes)):
        raise InputError(
            f"{path}: names {len(unknown)} scenes that do not exist: {', '.join(unknown)}; remove their rows"
        )
    return table


def _block(image: Path, size: float, max_pixels: int) -> str:
    from fieldgap.data.images import read_footprint

    if not (ground := read_footprint(image, max_pixels)):
        raise InputError(f"{image}: is not georeferenced, so it lies in no block; choose another split.group")
    column, row = (
        math.floor((ground.west + ground.east) / 2 / size),
        math.floor((ground.south + ground.north) / 2 / size),
    )
    return f"{ground.crs} {column} {row}"


def _match(pattern: str, scene: str) -> str:
    found = re.search(pattern, scene)
    return next(filter(None, (*found.groups(), found[0])), "") if found else ""


def groups_of(scenes: ScenePaths, grouping: str, table: Mapping[str, Row], max_pixels: int) -> dict[str, str]:
    """Return each scene's group, whose scenes must stay together.

    Args:
        scenes: The files of each scene.
        grouping: How to group, as in split.group. With block:SIZE, a group is the square of that side, in the units of
            the reference system, in which the centre of an image lies.
        table: The user's own row of each scene.
        max_pixels: The largest image to accept.

    Raises:
        InputError: A scene has no group.
    """
    kind, _, detail = grouping.partition(":")
    if kind == "scene":
        return {scene: scene for scene in scenes}
    if kind == "block":
        return {scene: _block(image, float(detail), max_pixels) for scene, (image, _) in scenes.items()}
    if kind == "stem":
        groups = {scene: _match(detail, scene) for scene in scenes}
    else:
        groups = {scene: table.get(scene, {}).get(detail) or "" for scene in scenes}
    if without := [scene for scene, group in groups.items() if not group]:
        raise InputError(
            f"split.group: {grouping} gives no group to {len(without)} of {len(scenes)} scenes: {', '.join(without)}; "
            "change it, or complete split.table"
        )
    return groups


def _foreground_shares(scenes: ScenePaths, groups: Mapping[str, str], data: Data) -> dict[str, float]:
    from fieldgap.data.reading import read_masks

    foreground: dict[str, int] = defaultdict(int)
    labelled: dict[str, int] = defaultdict(int)
    for scene, mask in read_masks(scenes, data):
        classes = mask.classes[mask.classes != IGNORE]
        foreground[groups[scene]] += int(np.count_nonzero(classes))
        labelled[groups[scene]] += len(classes)
    return {group: foreground[group] / pixels if pixels else 0.0 for group, pixels in labelled.items()}


def _own_splits(groups: Mapping[str, str], table: Mapping[str, Row], path: Path) -> dict[str, str]:
    splits: dict[str, str] = {}
    for scene, group in groups.items():
        if (split := table[scene]["split"]) not in SPLITS:
            raise InputError(f"{path}: gives {scene} the split {split!r}; write one of {', '.join(SPLITS)}")
        if splits.setdefault(group, split) != split:
            raise InputError(f"{path}: puts the group {group} into {splits[group]} and {split}; keep it together")
    return splits


def _name_unlabelled(unlabelled: Sequence[Path]) -> None:
    if unlabelled:
        names = [path.name for path in unlabelled]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        listed = ", ".join(names[:SHOWN])
        print(f"split: {len(names)} images have no mask and are left out: {listed}{more}", file=sys.stderr)


def run(data: Data, out: Path, config: Split) -> None:
    """Write a table with the columns scene, group, split and fold, one row per scene.

    Args:
        data: Where the scenes are, and how to read them.
        out: The table.
        config: How to split.

    Raises:
        InputError: A split or fold would be empty, or scenes cannot be grouped or read.
    """
    scenes, unlabelled = labelled_in(data)
    _name_unlabelled(unlabelled)
    path = Path(config.table)
    table = read_table(path, scenes)
    groups = groups_of(scenes, config.group, table, data.max_pixels)
    names = sorted(set(groups.values()))
    if table and "split" in next(iter(table.values())):
        splits = _own_splits(groups, table, path)
    elif config.stratify:
        splits = assign_strata(_foreground_shares(scenes, groups, data), config.val, config.test, config.seed)
    else:
        splits = {name: assign(name, config.val, config.test, config.seed) for name in names}
    folds = {name: fold_of(name, config.folds, config.seed) if splits[name] != "test" else "" for name in names}
    empty = [name for name in SPLITS if name not in splits.values()]
    if empty := empty or [f"fold {fold}" for fold in range(config.folds) if fold not in folds.values()]:
        raise InputError(
            f"{data.images}: none of its {len(scenes)} scenes, in {len(names)} groups, fell into {empty[0]}; "
            "change split.seed, split.folds or the shares split.val and split.test, or add scenes"
        )
    rows = ({"scene": scene, "group": group, "split": splits[group]} for scene, group in groups.items())
    write_rows(out, ({**row, "fold": folds[row["group"]] if config.folds else ""} for row in rows))
