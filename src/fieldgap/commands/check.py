"""Command check: describe a folder of images and masks, and propose the lines of params.yaml that fit it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from fieldgap.base.errors import InputError
from fieldgap.base.files import write_text
from fieldgap.commands.layouts import MAX_PIXELS, Layout, find_layout, folders_in
from fieldgap.commands.sharing import share
from fieldgap.data import leakage
from fieldgap.data.ground import check_fit
from fieldgap.data.images import decode, decode_mask, read_file
from fieldgap.data.masks import tally, tally_inner
from fieldgap.data.pairs import STEM, match, pair
from fieldgap.data.palettes import Looks, by_colour, check_palettes, looks
from fieldgap.data.passed_over import as_lines, passed_over
from fieldgap.data.proposals import as_yaml, propose, propose_tiles, used_share
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


def _examine_all(scenes: Mapping[str, tuple[Path, Path]]) -> tuple[Sequence[Facts], list[str]]:
    def attempt(item: tuple[str, tuple[Path, Path]]) -> Facts | InputError:
        try:
            return examine(item[0], *item[1])
        except InputError as error:
            return error

    results = list(tqdm(in_order(attempt, scenes.items()), total=len(scenes), unit="scene", disable=None))
    facts = [result for result in results if isinstance(result, Facts)]
    return _with_one_meaning(facts), [str(result) for result in results if isinstance(result, InputError)]


def _same_places(scenes: Sequence[Facts]) -> list[str]:
    matches = leakage.audit([scene.fingerprint for scene in scenes])
    listed = [f"  {found.first.scene} and {found.second.scene}: {found.kind}" for found in matches[:SHOWN]]
    rest = [f"  and {len(matches) - SHOWN} more"] if len(matches) > SHOWN else []
    return [f"pairs of scenes that show the same place: {len(matches)}", *listed, *rest]


def _unused(folder: Path, scenes: Mapping[str, tuple[Path, Path]], unlabelled: Collection[Path]) -> list[str]:
    """Return the lines about images without a mask, and about files that are no part of a scene."""
    used = {*(path for pair in scenes.values() for path in pair), *unlabelled}
    others = [place / name for place, names in folders_in(folder).items() for name in names.values()]
    unused = [path for path in others if path not in used]
    groups = (("have no mask", list(unlabelled)), ("are part of no scene", unused))
    lines = [f"{len(paths)} image files {what}, such as {paths[0]}" for what, paths in groups if paths]
    return [*lines, *as_lines(passed_over(folder))]


def _lines(blocks: Mapping[str, Mapping[str, object]]) -> str:
    lines = [
        line
        for block, values in blocks.items()
        for line in (f"{block}:", *(f"  {key}: {as_yaml(value)}" for key, value in values.items()))
    ]
    return "\n".join(lines)


def run(folder: Path, images: Path | None = None, masks: Path | None = None, write: Path | None = None) -> None:
    """Print what a folder holds and which lines to write into params.yaml.

    Args:
        folder: The folder to search.
        images: The folder of the images, where several answers are possible.
        masks: The folder of the masks, likewise.
        write: A new file for the lines.

    Raises:
        InputError: The layout is not understood, or some scenes cannot be used. It lists them all.
    """
    if write and write.exists():
        raise InputError(f"{write}: exists already; remove it, or name another file after --write")
    layout = find_layout(folder, images, masks)
    scenes = pair(layout.images, layout.masks, layout.mask_pattern, "skip", layout.image_pattern)
    _, unlabelled = match(layout.images, layout.masks, layout.mask_pattern, layout.image_pattern)
    facts, problems = _examine_all(scenes)
    print(f"{folder}: {len(scenes)} scenes, {layout.named}\n")
    if facts:
        print("\n".join([*describe(facts), *_same_places(facts), *_unused(folder, scenes, unlabelled)]))
        proposed = proposal(layout, facts)
        if unlabelled:
            proposed["data"]["unlabelled"] = "skip"
        sharing = share({scene.fingerprint.scene: scene.shape for scene in facts}, proposed["normalize"])
        if sharing:
            print(sharing)
            proposed |= sharing.proposal
        used = used_share(Counter(scene.shape for scene in facts), proposed["normalize"])
        print(f"\n# params.yaml: these lines differ from the shipped ones; the tiles use {used:.1%} of all pixels")
        print(_lines(proposed))
    if problems:
        raise InputError("\n  ".join([f"{len(problems)} of {len(scenes)} scenes cannot be used:", *problems]))
    if write:
        write_text(write, _lines(proposed) + "\n")
