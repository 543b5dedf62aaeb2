"""Stage normalize: masks become class indices and scenes become tiles of uint8, with few scenes in memory at a time."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.base.files import read_rows, replacing, write_rows, write_text
from fieldgap.base.names import FRESH, LEAKAGE
from fieldgap.data import leakage
from fieldgap.data.cutting import Cut, Record, cut
from fieldgap.data.fresh import fresh_tiles
from fieldgap.data.masks import table_of
from fieldgap.data.npy import NpyWriter
from fieldgap.data.pairs import ScenePaths, scenes_in
from fieldgap.data.palettes import Looks, check_palettes
from fieldgap.data.raster import Raster
from fieldgap.data.reading import Scene, read_all, read_scene
from fieldgap.data.scaling import Limits, limits_of

if TYPE_CHECKING:
    from fieldgap.settings.sections import Data, Normalize

Row = Mapping[str, str]
ReadScene = Callable[[Path, Path], Scene]
COVERED = 0.98  # A smaller share of the pixels is worth a word.
COLUMNS = ("tile", "scene", "split", "fold", "y", "x")


def _pixel_type(training: ScenePaths, read: ReadScene) -> np.dtype:
    # The first readable scene sets the type that all others must have.
    for image, mask in training.values():
        with suppress(InputError):
            return read(image, mask).image.pixels.dtype
    return np.dtype(np.uint8)


def training_limits(training: ScenePaths, read: ReadScene, kind: np.dtype, bands: int, scale: str) -> Limits | None:
    """Return what becomes 0 and 255 in each band, by the training scenes alone; None if these have 8 bits."""
    if kind == np.uint8:
        return None

    def images() -> Iterator[Raster]:
        with suppress(InputError):  # Unfit scenes are reported when all scenes are cut.
            for _, scene in read_all(training, read):
                yield scene.image

    return limits_of(scale, images, kind, bands)


def _check_scene(scene: Scene, path: Path, kind: np.dtype, config: Normalize) -> None:
    height, width = scene.classes.shape
    if scene.image.pixels.dtype != kind:
        raise InputError(
            f"{path}: has {scene.image.pixels.dtype} pixels, but the first training scene {kind}; convert or remove it"
        )
    if min(height, width) < config.tile and not config.pad:
        raise InputError(
            f"{path}: is {width} x {height} px, smaller than a tile; "
            f"lower normalize.tile ({config.tile}), set normalize.pad: true, or remove it"
        )


def cut_scenes(paths: ScenePaths, training: ScenePaths, data: Data, config: Normalize) -> Iterator[tuple[str, Cut]]:
    """Yield each scene's name and tiles, in order.

    Raises:
        InputError: Some scenes cannot be used; all of them are listed. Or palettes contradict each other.
    """
    read = partial(read_scene, data=data, table=table_of(data))
    kind = _pixel_type(training, read)
    limits = training_limits(training, read, kind, len(data.bands), config.scale)
    found: dict[Path, Looks] = {}

    def read_and_cut(image: Path, mask: Path) -> Cut:
        scene = read(image, mask)
        _check_scene(scene, image, kind, config)
        found[mask] = scene.mask.looks
        return cut(scene, limits, tuple(data.table), config)

    yield from read_all(paths, read_and_cut)
    check_palettes((mask, found[mask]) for _, mask in paths.values())


@contextmanager
def tile_writers(out: Path, tile: int, bands: int) -> Iterator[tuple[NpyWriter, NpyWriter]]:
    """Yield writers of images (N, tile, tile, bands) and masks (N, tile, tile), which appear in `out` at the end."""
    with (
        replacing(out / "images.npy") as image_draft,
        replacing(out / "masks.npy") as mask_draft,
        NpyWriter(image_draft, (tile, tile, bands)) as images,
        NpyWriter(mask_draft, (tile, tile)) as masks,
    ):
        yield images, masks


def write_tiles(cuts: Iterable[tuple[str, Cut]], images: NpyWriter, masks: NpyWriter) -> dict[str, Record]:
    """Write the tiles of all scenes and return each scene's record, in the order of the tiles."""
    records: dict[str, Record] = {}
    for name, scene in cuts:
        images.extend(scene.images)
        masks.extend(scene.masks)
        records[name] = scene.record
    return records


def _fingerprint(row: Row, image: Path, record: Record) -> leakage.Fingerprint:
    # Hashes are taken here, one after another: between decodings, which fill the caches, they take twice as long.
    return leakage.Fingerprint(
        scene=row["scene"],
        split=f"{row['split']} fold {row['fold']}" if row["fold"] else row["split"],
        path=image,
        pixels=record.pixels,
        classes=record.classes,
        phash=leakage.perceptual_hash(record.thumbnail),
        footprint=record.footprint,
    )


def _refuse_leaks(matches: Sequence[leakage.Match]) -> None:
    leaks = [
        f"{match.first.scene} ({match.first.split}) and {match.second.scene} ({match.second.split}): {match.kind}"
        for match in matches
        if match.leaks
    ]
    if leaks:
        title = f"{len(leaks)} pairs of scenes show the same place in two splits:"
        mend = "remove one of each pair, keep both together with split.group, or accept with normalize.leakage: report"
        raise InputError("\n  ".join([title, *leaks, mend]))


def _check_coverage(scenes: Sequence[Mapping[str, Any]], data: Data, config: Normalize) -> None:
    """Say which share of the pixels the tiles leave out, and refuse to lose a whole class in that way."""
    pixels, used = Counter[str](), Counter[str]()
    for scene in scenes:
        pixels.update(scene["pixels"])
        used.update(scene["used"])
    lost = [name for name in data.table if pixels[name] and not used[name]]
    share = used.total() / pixels.total()
    mend = f"set normalize.pad: true, or another normalize.tile ({config.tile}), stride or min_valid"
    if lost:
        raise InputError(
            f"{data.masks}: no tile contains a pixel of {', '.join(lost)}, which the masks have; the tiles use "
            f"{share:.1%} of all pixels; {mend}"
        )
    if share < COVERED:
        print(f"normalize: the tiles use {share:.1%} of all pixels; to use more, {mend}", file=sys.stderr)


def tile_rows(records: Mapping[str, Record], splits: Mapping[str, Row]) -> Iterator[dict[str, object]]:
    """Yield the rows of tiles.csv."""
    corners = ((splits[name], corner) for name, record in records.items() for corner in record.corners)
    for tile, (row, (y, x)) in enumerate(corners):
        yield {"tile": tile, "scene": row["scene"], "split": row["split"], "fold": row["fold"], "y": y, "x": x}


def mask_report(classes: Sequence[str], scenes: Iterable[Mapping[str, Any]]) -> str:
    """Return the text of mask_report.json, one line per scene: Python's encoder is slow when it indents."""
    lines = ",\n".join(json.dumps(scene, ensure_ascii=False, allow_nan=False) for scene in scenes)
    return f'{{"classes": {json.dumps(classes, ensure_ascii=False)}, "scenes": [\n{lines}\n]}}\n'


def write_tables(out: Path, classes: Sequence[str], records: Mapping[str, Record], splits: Mapping[str, Row]) -> None:
    """Write tiles.csv and mask_report.json."""
    write_rows(out / "tiles.csv", tile_rows(records, splits), COLUMNS)
    scenes = ({"scene": name, "split": splits[name]["split"], **record.summary} for name, record in records.items())
    write_text(out / "mask_report.json", mask_report(classes, scenes))


def run(data: Data, split: Path, fresh_scenes: Path, out: Path, config: Normalize) -> None:
    """Write the tiles of all scenes, tables about them, the leakage audit and the tiles of the fresh scenes.

    Args:
        data: Where the scenes are, and how to read them.
        split: The table that stage split wrote.
        fresh_scenes: The fresh scenes that stage demo drew; not read if the data are your own.
        out: The folder for all files.
        config: How to cut tiles.

    Raises:
        InputError: Scenes cannot be used, or show the same place in two splits. Nothing is written then.
    """
    splits = {row["scene"]: row for row in read_rows(split)}
    pairs = scenes_in(data)
    if missing := sorted(splits.keys() - pairs.keys()):
        raise InputError(f"{split}: lists {missing[0]}, which is not in {data.images}; run split again")
    paths = {scene: pairs[scene] for scene in splits}
    training = {scene: files for scene, files in paths.items() if splits[scene]["split"] == "train"}
    with tile_writers(out, config.tile, len(data.bands)) as writers:
        records = write_tiles(cut_scenes(paths, training, data, config), *writers)
        matches = leakage.audit(
            [_fingerprint(splits[name], paths[name][0], record) for name, record in records.items()]
        )
        _check_coverage([record.summary for record in records.values()], data, config)
        if config.leakage == "error":
            _refuse_leaks(matches)
        write_tables(out, tuple(data.table), records, splits)
        write_rows(out / LEAKAGE, map(leakage.row, matches), leakage.COLUMNS)
        scenes, images, masks = fresh_tiles(fresh_scenes, data, config)
        with replacing(out / FRESH) as draft, draft.open("wb") as file:
            np.savez(file, scenes=scenes, images=images, masks=masks)
