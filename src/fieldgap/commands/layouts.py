"""Where the images and the masks of a folder are: found by how names pair up, told apart by how the files look."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.data.images import decode, read_file
from fieldgap.data.pairs import STEM, canonical_name, is_image_name

TRIED, FIRST = 50, 5  # Images whose names are searched for in all names, and those that decide whether to go on.
SAMPLED, LABELS = 20_000, 256  # Pixels that are looked at, and the most values that they may have in a mask.
LOOKED_AT = 3  # Pairs that are decoded to tell images from masks.
MAX_PIXELS = 2**28  # Generous, since check proposes the limit that the files need.
MANY = 0.4  # The share of a folder's files that have the beginning or the end of the images' names.
SHOWN = 12  # Candidates that an error lists.

Names = Mapping[str, str]  # The files in a folder by their canonical names.


@dataclass(frozen=True)
class Layout:
    """Where images and masks are, and how a mask is named after its image.

    Attributes:
        pairs: Some images with their masks.
        count: How many images have a mask.
    """

    images: Path
    masks: Path
    image_pattern: str
    mask_pattern: str
    pairs: Sequence[tuple[Path, Path]]
    count: int

    @property
    def named(self) -> str:
        """How images and masks are named, in words."""
        images = "" if self.image_pattern == STEM else f"images named {self.image_pattern}, "
        return f"{images}masks named {self.mask_pattern}"


def folders_in(folder: Path) -> dict[Path, Names]:
    """Return the image files of a folder and of those below it, without hidden ones, folder by folder."""
    found: dict[Path, Names] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        images = sorted(filter(is_image_name, names))
        if images:
            found[Path(place)] = {canonical_name(name): name for name in images}
    return found


def _sample(items: Sequence[str], count: int) -> Sequence[str]:
    return items[:: max(1, len(items) // count)][:count]


def _stems(pattern: str, names: Iterable[str]) -> dict[str, str]:
    """Return the names that fit a pattern by their stems, as pairs are formed later."""
    before, after = pattern.split(STEM)
    fitting = [name for name in names if name.startswith(before) and name.endswith(after)]
    cut = (name[len(before) : len(name) - len(after)] for name in fitting)
    return {stem if after else stem.rpartition(".")[0]: name for stem, name in zip(cut, fitting, strict=True) if stem}


def _patterns(names: Sequence[str]) -> list[str]:
    """Return how the images among some names may be called: anything, or with a beginning or an end that many share."""
    shared: Counter[str] = Counter()
    for name in names:
        for found in re.finditer(r"[_\-. ]", name.rpartition(".")[0]):
            shared.update([f"{name[: found.end()]}{STEM}", f"{STEM}{name[found.start() :]}"])
    often = [pattern for pattern, count in shared.items() if count >= max(2, MANY * len(names))]
    return [STEM, *sorted(often, key=len)]


def _mask_pattern(stems: Mapping[str, str], masks: Sequence[str], *, apart: bool) -> str | None:
    """Return how most masks are named after their images, or None if no mask has an image's stem in its name."""
    votes: Counter[tuple[str, str]] = Counter()
    for count in (FIRST, TRIED):
        for stem in _sample([*stems], count):
            for name in masks:
                before, found, after = name.partition(stem)
                if found and (apart or name != stems[stem]):  # No file is its own mask.
                    votes[before, after] += 1
        if not votes:
            return None
    (before, after), _ = votes.most_common(1)[0]
    return f"{before}{STEM}{after}"


def _layout(images: Path, masks: Path, folders: Mapping[Path, Names], image_pattern: str) -> Layout | None:
    """Return how two folders, or one twice, pair up; None if less than half of their files do."""
    apart, ours, theirs = images != masks, folders[images], folders[masks]
    stems = _stems(image_pattern, ours)
    if not (pattern := _mask_pattern(stems, [*theirs], apart=apart)) or (pattern == image_pattern and not apart):
        return None
    named = {name: pattern.replace(STEM, stem) for stem, name in stems.items()}
    pairs = {name: mask for name, mask in named.items() if mask in theirs and (apart or mask != name)}
    if len(pairs) * 2 < (len(ours) if apart else len(ours) // 2):
        return None
    some = [(images / ours[name], masks / theirs[pairs[name]]) for name in _sample([*pairs], LOOKED_AT)]
    return Layout(images, masks, image_pattern, pattern, some, len(pairs))


def _layouts(images: Path, masks: Path, folders: Mapping[Path, Names]) -> list[Layout]:
    """Return how two folders pair up; patterns for images are tried only where their whole names do not."""
    for image_pattern in _patterns([*folders[images]]):
        if layout := _layout(images, masks, folders, image_pattern):
            return [layout]
    return []


def _flatness(pixels: np.ndarray) -> float:
    """Return the share of pixels (H, W, bands) that equal their right neighbour: nearly 1 for masks."""
    return float((pixels[:, 1:] == pixels[:, :-1]).all(2).mean()) if pixels.shape[1] > 1 else 0.0


def _values(pixels: np.ndarray) -> int:
    """Return how many values or colours some of the pixels (H, W, bands) have."""
    some = pixels.reshape(-1, pixels.shape[2])
    return len(np.unique(some[:: max(1, len(some) // SAMPLED)], axis=0))


def _looks(layout: Layout) -> tuple[bool, ...]:
    """Return whether image and mask have one size, the mask few values, and the image fewer equal neighbours.

    A pair that can be decoded decides.
    """
    for image_path, mask_path in layout.pairs:
        try:
            image, mask = (decode(read_file(path), path, MAX_PIXELS, None).pixels for path in (image_path, mask_path))
        except InputError:  # Reported when all scenes are read.
            continue
        return image.shape[:2] == mask.shape[:2], _values(mask) <= LABELS, _flatness(mask) > _flatness(image)
    return True, True, True


def candidates(folders: Mapping[Path, Names]) -> list[Layout]:
    """Return every way in which files pair up as images and masks, those with the most pairs first.

    Where some ways have images and masks of one size, others are dropped, such as previews. The same goes for masks
    with few values, and for masks that are flatter than their images.
    """
    found = [layout for images in folders for masks in folders for layout in _layouts(images, masks, folders)]
    looks = {id(layout): _looks(layout) for layout in found}
    for trait in range(3):
        found = [layout for layout in found if looks[id(layout)][trait]] or found
    return sorted(found, key=lambda layout: -layout.count)


def _chosen(folders: Mapping[Path, Names], folder: Path, images: Path | None, masks: Path | None) -> Iterator[Layout]:
    for layout in candidates(folders):
        wanted = ((images, layout.images), (masks, layout.masks))
        if all(path is None or found in (path, folder / path) for path, found in wanted):
            yield layout


def find_layout(folder: Path, images: Path | None = None, masks: Path | None = None) -> Layout:
    """Return where a folder's images and masks are.

    Args:
        folder: The folder to search.
        images: The folder of the images, if that is known; relative to `folder` or to the working folder.
        masks: The folder of the masks, if that is known.

    Raises:
        InputError: The folder is missing, nothing in it pairs up, or there are several answers.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    folders = folders_in(folder)
    found = list(_chosen(folders, folder, images, masks))
    if not found:
        raise InputError(
            f"{folder}: holds {len(folders)} folders with images, and no files that pair up by their names; name each "
            "mask after its image, like {stem}_mask.png"
        )
    best = [layout for layout in found if layout.count * 10 >= found[0].count * 9]
    if len(best) > 1:
        listed = [
            f"--images {layout.images} --masks {layout.masks}: {layout.count} pairs, {layout.named}"
            for layout in best[:SHOWN]
        ]
        more = [f"and {len(best) - SHOWN} more"] if len(best) > SHOWN else []
        title = f"{folder}: images and masks pair up in {len(best)} ways; choose one by"
        raise InputError("\n  ".join([title, *listed, *more]))
    return best[0]
