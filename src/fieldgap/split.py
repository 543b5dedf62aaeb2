"""Stage split: scenes into train, val and test, so that no scene gives tiles to two of them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from fieldgap.errors import InputError
from fieldgap.files import write_rows
from fieldgap.scenes import pair

if TYPE_CHECKING:
    from fieldgap.settings import Split

SPLITS = ("train", "val", "test")


def position(name: str, seed: int) -> float:
    """-> a number in [0, 1) drawn from the name and the seed alone, so that adding a scene moves no other one."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign(name: str, val: float, test: float, seed: int) -> str:
    """-> the split that a scene falls into, given the shares of val and test."""
    at = position(name, seed)
    return "val" if at < val else "test" if at < val + test else "train"


def run(images: Path, masks: Path, mask_pattern: str, out: Path, config: Split) -> None:
    """Writes `out` with one row a scene: scene, group, split. Raises InputError when a split would be empty."""
    splits = {scene: assign(scene, config.val, config.test, config.seed) for scene in pair(images, masks, mask_pattern)}
    for name in SPLITS:
        if name not in splits.values():
            raise InputError(
                f"{images}: none of its {len(splits)} scenes fell into {name}; "
                "change split.seed or the shares split.val and split.test, or add scenes"
            )
    write_rows(out, ({"scene": scene, "group": scene, "split": name} for scene, name in splits.items()))
