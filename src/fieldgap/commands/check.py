"""Command check: what a folder of images and masks holds, and the lines of params.yaml that would accept it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fieldgap.base.errors import InputError
from fieldgap.data import leakage
from fieldgap.data.images import decode, decode_mask, read_file
from fieldgap.data.masks import tally
from fieldgap.data.pairs import canonical_name, image_files, pair
from fieldgap.data.proposals import as_yaml, propose
from fieldgap.data.reading import in_order
from fieldgap.data.scaling import to_bytes

MASKS = r"mask|label|annot|target|truth|^gts?$"  # What people call the folder of masks.
TRIED = 50  # As many images are held against all names to find the pattern.
LIMIT = 2**28  # Pixels of a file; generous, since the proposal names the limit that is needed.
SHOWN = 12


@dataclass(frozen=True)
class Layout:
    """Where images and masks lie, and how a mask is named after its image."""

    images: Path
    masks: Path
    mask_pattern: str


@dataclass(frozen=True)
class Seen:
    """A scene as it was found: height, width, bands and bits of its image, its mask's values, what tells it apart."""

    shape: tuple[int, int]
    bands: int
    bits: int
    values: Mapping[str, int]
    mark: leakage.Fingerprint


def likely_pattern(images: Path, masks: Path) -> str | None:
    """-> the way in which most masks are named after an image; None when no name holds an image's stem."""
    votes: Counter[tuple[str, str]] = Counter()
    heads, names = ([canonical_name(path.name) for path in image_files(folder)] for folder in (images, masks))
    for image in heads[:: max(1, len(heads) // TRIED)]:
        stem = Path(image).stem
        for name in names:
            before, found, after = name.partition(stem)
            if found and not (images == masks and name == image):  # In one folder no file is its own mask.
                votes[before, after] += 1
    if not votes:
        return None
    (before, after), _ = max(votes.items(), key=lambda vote: (vote[1], bool(re.search(MASKS, "".join(vote[0])))))
    return f"{before}{{stem}}{after}"


def find_layout(folder: Path) -> Layout:
    """-> where a folder's images and masks lie: both in itself, or in two folders below it. Raises InputError."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    inside = [path for path in sorted(folder.rglob("*")) if path.is_dir() and image_files(path)]
    masks = [path for path in inside if re.search(MASKS, path.name.lower())]
    images = [path for path in inside if path not in masks]
    if image_files(folder):
        places = (folder, folder)
    elif len(images) == len(masks) == 1:
        places = (images[0], masks[0])
    else:
        raise InputError(
            f"{folder}: holds {len(inside)} folders with images, {len(masks)} of them named like masks; "
            "name the folder that holds one folder of images and one of masks, or both in one"
        )
    if not (pattern := likely_pattern(*places)):
        raise InputError(f"{folder}: no mask is named after its image; name them {{stem}}_mask.png or alike")
    return Layout(*places, pattern)


def look(name: str, image_path: Path, mask_path: Path) -> Seen:
    """-> a scene's facts. Raises InputError when it cannot be read, or when image and mask differ in size."""
    image = decode(read_file(image_path), image_path, LIMIT, None)
    mask = decode_mask(read_file(mask_path), mask_path, LIMIT).pixels
    if mask.shape[:2] != image.pixels.shape[:2]:
        (height, width), (tall, wide) = mask.shape[:2], image.pixels.shape[:2]
        raise InputError(f"{mask_path}: is {width} x {height} px but {image_path.name} is {wide} x {tall} px")
    bits = image.pixels.dtype.itemsize * 8
    small = image.pixels if bits == 8 else to_bytes(image.pixels, [(0, 65535)] * image.pixels.shape[2])
    mark = leakage.Fingerprint(
        scene=name,
        split=name,
        path=image_path,
        pixels=leakage.digest(image.pixels),
        classes=leakage.digest(mask),
        phash=leakage.perceptual_hash(leakage.thumbnail(small)),
        footprint=image.footprint,
    )
    return Seen(mask.shape[:2], image.pixels.shape[2], bits, tally(mask), mark)


def proposal(layout: Layout, seen: Sequence[Seen]) -> dict[str, dict[str, object]]:
    """-> the blocks of params.yaml that differ from folder to folder, filled in for these scenes."""
    bands = min(each.bands for each in seen)
    sides = min(min(each.shape) for each in seen)
    data: dict[str, object] = {"images": str(layout.images), "masks": str(layout.masks)}
    data |= {"mask_pattern": layout.mask_pattern, "bands": [1, 2, 3] if bands in (1, 3) else list(range(1, bands + 1))}
    if bands == 4 and not any(each.mark.footprint for each in seen):
        data["bands"] = [1, 2, 3]  # The fourth band of a picture is its alpha channel.
    data |= propose([each.values for each in seen]) or {}
    if (largest := max(each.shape[0] * each.shape[1] for each in seen)) > 2**26:
        data["max_pixels"] = largest
    tile = 256 if sides >= 512 else 128 if sides >= 128 else 64 if sides >= 64 else 32
    normalize: dict[str, object] = {"tile": tile}
    if sides < tile:
        normalize["pad"] = True
    if any(each.bits == 16 for each in seen):
        normalize["scale"] = "percentiles:1:99"
    return {"data": data, "normalize": normalize}


def counted(title: str, counts: Counter[str]) -> list[str]:
    """-> lines of a table: what was found and in how many files, the commonest first; none when nothing was."""
    if not counts:
        return []
    lines = [f"  {what:<28} {count:>7}" for what, count in counts.most_common(SHOWN)]
    return [
        f"{title:<30} {'files':>7}",
        *lines,
        *([f"  and {len(counts) - SHOWN} more"] if len(counts) > SHOWN else []),
    ]


def describe(layout: Layout, seen: Sequence[Seen]) -> list[str]:
    """-> the table of what the scenes hold, as lines."""
    pixels: Counter[str] = Counter()
    for each in seen:
        pixels.update(each.values)
    lines = counted("images", Counter(f"{s.shape[1]} x {s.shape[0]} px, {s.bands} x {s.bits} bit" for s in seen))
    lines += counted("georeferenced in", Counter(s.mark.footprint.crs for s in seen if s.mark.footprint))
    lines += [f"{'mask values':<30} {'files':>7} {'pixels':>8}"]
    for value, count in pixels.most_common(SHOWN):
        share = count / pixels.total()
        lines.append(f"  {value:<28} {sum(value in s.values for s in seen):>7} {share:>8.2%}")
    return [*lines, *([f"  and {len(pixels) - SHOWN} more values"] if len(pixels) > SHOWN else [])]


def run(folder: Path) -> None:
    """Prints what a folder holds and what to write in params.yaml. Raises InputError that lists every unfit scene."""
    layout = find_layout(folder)
    scenes = pair(layout.images, layout.masks, layout.mask_pattern)

    def attempt(item: tuple[str, tuple[Path, Path]]) -> Seen | InputError:
        try:
            return look(item[0], *item[1])
        except InputError as error:
            return error

    results = list(in_order(attempt, scenes.items()))
    seen = [result for result in results if isinstance(result, Seen)]
    problems = [str(result) for result in results if isinstance(result, InputError)]
    print(f"{folder}: {len(scenes)} scenes, masks named {layout.mask_pattern}\n")
    if seen:
        print("\n".join(describe(layout, seen)))
        pairs = leakage.audit([each.mark for each in seen])
        alike = [f"  {pair.first.scene} and {pair.second.scene}: {pair.kind}" for pair in pairs]
        print("\n".join([f"scenes that show one place: {len(pairs)}", *alike]))
        print("\n# params.yaml: these lines differ from the shipped ones")
        for block, values in proposal(layout, seen).items():
            print("\n".join([f"{block}:", *(f"  {key}: {as_yaml(value)}" for key, value in values.items())]))
    if problems:
        raise InputError("\n  ".join([f"{len(problems)} of {len(scenes)} scenes cannot be used:", *problems]))
