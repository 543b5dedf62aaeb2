"""What check finds out about each scene, in a table, and the lines of params.yaml that fit all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from fieldgap.base.errors import InputError
from fieldgap.commands.layouts import MAX_PIXELS, Layout
from fieldgap.data import leakage
from fieldgap.data.ground import check_fit
from fieldgap.data.images import decode, decode_mask, read_file
from fieldgap.data.masks import tally, tally_inner
from fieldgap.data.pairs import STEM
from fieldgap.data.palettes import Looks, by_colour, check_palettes, looks
from fieldgap.data.proposals import propose, propose_tiles
from fieldgap.data.reading import in_order
from fieldgap.data.scaling import preview

DEFAULT_MAX_PIXELS = 2**26
SHOWN = 12  # Rows of a table.


@dataclass(frozen=True)
class Facts:
    """What was found out about one scene.

    Attributes:
        shape: Height and width in pixels.
        bands: Bands of the image.
        depth: The type of the image's numbers, such as 8 bit or float32.
        values: Pixels of the mask by value.
        inner: Those with four neighbours of the same value.
        looks: The colour of each value in the mask's palette.
    """

    shape: tuple[int, int]
    bands: int
    depth: str
    values: Mapping[str, int]
    inner: Mapping[str, int]
    looks: Looks
    fingerprint: leakage.Fingerprint


def examine(name: str, image_path: Path, mask_path: Path) -> Facts:
    """Return the facts about a scene. Raises InputError when it cannot be read, or its mask does not fit its image."""
    image = decode(read_file(image_path), image_path, MAX_PIXELS, None)
    raster = decode_mask(read_file(mask_path), mask_path, MAX_PIXELS)
    check_fit(image, image_path, raster, mask_path)
    mask, kind = raster.pixels, image.pixels.dtype
    values = tally(mask)
    fingerprint = leakage.Fingerprint(
        scene=name,
        split=name,
        path=image_path,
        pixels=leakage.digest(image.pixels),
        classes=leakage.digest(mask),
        phash=leakage.perceptual_hash(leakage.thumbnail(preview(image))),
        footprint=image.footprint,
    )
    return Facts(
        shape=mask.shape[:2],
        bands=image.pixels.shape[2],
        depth=f"{8 * kind.itemsize} bit" if kind.kind == "u" and kind.itemsize < 4 else kind.name,
        values=values,
        inner=tally_inner(mask),
        looks=looks(raster, values),
        fingerprint=fingerprint,
    )


def _with_one_meaning(scenes: Sequence[Facts]) -> Sequence[Facts]:
    """Return the scenes with the values of masks as colours if palettes number their colours differently."""
    try:
        check_palettes((scene.fingerprint.path, scene.looks) for scene in scenes)
    except InputError:
        return [
            replace(scene, values=by_colour(scene.values, scene.looks), inner=by_colour(scene.inner, scene.looks))
            for scene in scenes
        ]
    return scenes


def proposal(layout: Layout, scenes: Sequence[Facts]) -> dict[str, dict[str, object]]:
    """Return the values of params.yaml that differ from folder to folder, by block.

    Raises:
        InputError: The values of the masks are not understood.
    """
    bands = min(scene.bands for scene in scenes)
    data: dict[str, object] = {"images": str(layout.images), "masks": str(layout.masks)}
    if layout.image_pattern != STEM:
        data["image_pattern"] = layout.image_pattern
    data |= {"mask_pattern": layout.mask_pattern, "bands": [1, 2, 3] if bands in (1, 3) else list(range(1, bands + 1))}
    if bands == 4 and not any(scene.fingerprint.footprint for scene in scenes):
        data["bands"] = [1, 2, 3]  # The fourth band of a picture is its alpha channel.
    try:
        data |= propose([scene.values for scene in scenes], [scene.inner for scene in scenes])
    except ValueError as error:
        raise InputError(f"{layout.masks}: the values of the masks are not understood: {error}") from None
    if (largest := max(scene.shape[0] * scene.shape[1] for scene in scenes)) > DEFAULT_MAX_PIXELS:
        data["max_pixels"] = largest
    normalize = propose_tiles(Counter(scene.shape for scene in scenes))
    if any(scene.depth != "8 bit" for scene in scenes):
        normalize["scale"] = "percentiles:1:99"
    return {"data": data, "normalize": normalize}


def table(title: str, files: Counter[str]) -> list[str]:
    """Return the lines of a table that says how many files have what, the most frequent first."""
    if not files:
        return []
    lines = [f"  {what:<28} {count:>7}" for what, count in files.most_common(SHOWN)]
    rest = [f"  and {len(files) - SHOWN} more"] if len(files) > SHOWN else []
    return [f"{title:<30} {'files':>7}", *lines, *rest]


def describe(scenes: Sequence[Facts]) -> list[str]:
    """Return the lines about sizes, bands, coordinate systems and mask values of the scenes."""
    pixels: Counter[str] = Counter()
    for scene in scenes:
        pixels.update(scene.values)
    footprints = [scene.fingerprint.footprint for scene in scenes]
    lines = table("images", Counter(f"{s.shape[1]} x {s.shape[0]} px, {s.bands} x {s.depth}" for s in scenes))
    lines += table("georeferenced in", Counter(footprint.crs for footprint in footprints if footprint))
    lines += [f"{'mask values':<30} {'files':>7} {'pixels':>8}"]
    for value, count in pixels.most_common(SHOWN):
        files = sum(value in scene.values for scene in scenes)
        lines.append(f"  {value:<28} {files:>7} {count / pixels.total():>8.2%}")
    return [*lines, *([f"  and {len(pixels) - SHOWN} more values"] if len(pixels) > SHOWN else [])]


def examine_all(scenes: Mapping[str, tuple[Path, Path]]) -> tuple[Sequence[Facts], list[str]]:
    """Return the facts about all scenes that can be used, and what is wrong with the others. Shows progress."""

    def attempt(item: tuple[str, tuple[Path, Path]]) -> Facts | InputError:
        try:
            return examine(item[0], *item[1])
        except InputError as error:
            return error

    results = list(tqdm(in_order(attempt, scenes.items()), total=len(scenes), unit="scene", disable=None))
    facts = [result for result in results if isinstance(result, Facts)]
    return _with_one_meaning(facts), [str(result) for result in results if isinstance(result, InputError)]
