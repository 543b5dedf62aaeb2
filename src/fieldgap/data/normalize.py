"""Stage normalize: masks to class indices, scenes to packed uint8 tiles, a few scenes in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.base.files import read_rows, replacing, write_rows, write_text
from fieldgap.base.names import FRESH, LEAKAGE
from fieldgap.data import leakage, packs
from fieldgap.data.cutting import Cut, Limits, cut
from fieldgap.data.fresh import fresh_tiles
from fieldgap.data.images import Footprint, content
from fieldgap.data.packs import Packed
from fieldgap.data.pairs import pair
from fieldgap.data.reading import Paths, Scene, read_all, read_scene, table_of
from fieldgap.data.scaling import Histogram, limits

if TYPE_CHECKING:
    from fieldgap.settings.sections import Data, Normalize

Row = dict[str, str]
COLUMNS = ("tile", "scene", "split", "fold", "y", "x")
AT_ONCE = 64  # Looks taken one after another.


def check_scene(scene: Scene, path: Path, between: Limits | None, config: Normalize) -> Scene:
    """Raises InputError for a scene of another depth than the training scenes', or smaller than a tile."""
    height, width = scene.classes.shape
    depth = 16 if between else 8
    if scene.image.pixels.dtype.itemsize * 8 != depth:
        raise InputError(f"{path}: is not of {depth} bits as the first training scene is; convert it or remove it")
    if min(height, width) < config.tile and not config.pad:
        raise InputError(
            f"{path}: is {width} x {height} px, smaller than a tile; "
            f"lower normalize.tile ({config.tile}), set normalize.pad: true, or remove it"
        )
    return scene


class Scenes:
    """All scenes of a split on their way to tiles: decoded, or taken over from the last pack where nothing changed."""

    def __init__(self, paths: Paths, splits: Mapping[str, Row], data: Data, config: Normalize) -> None:
        self.paths, self.data, self.config = paths, data, config
        self.training = {scene: files for scene, files in paths.items() if splits[scene]["split"] == "train"}
        self.memory, self.table, self.names = (
            packs.load(config.tile, len(data.bands)),
            table_of(data),
            tuple(data.table),
        )

    def decoded(self, name: str, image: Path, mask: Path) -> Scene:
        return read_scene(name, (image, mask), (content(image), content(mask)), self.data, self.table)

    def in_bytes(self) -> bool:
        """-> whether the first training scene that can be read is of 8 bits."""
        as_bytes = packs.basis(self.data, self.config, None)
        for name, (image, mask) in self.training.items():
            with suppress(InputError):
                if packs.key_of(content(image), content(mask), as_bytes) in self.memory.scenes:
                    return True
                return self.decoded(name, image, mask).image.pixels.dtype == np.uint8
        return True

    def limits(self) -> Limits | None:
        """-> what becomes 0 and 255 in each band of 16-bit scenes, by training scenes alone; None for 8-bit ones."""
        if self.in_bytes():
            return None
        histogram = Histogram(len(self.data.bands))
        if self.config.scale.startswith("percentiles"):
            with suppress(InputError):  # What is unfit is named with all other scenes, when they are read to be cut.
                for _, scene in read_all(self.training, self.decoded):
                    histogram.add(scene.image.pixels, scene.image.valid)
        return limits(self.config.scale, histogram)

    def cut(self) -> Iterator[tuple[str, Cut]]:
        """Yields each scene's name and the scene, in order. Raises InputError that lists every unfit file."""
        between = self.limits()
        basis = packs.basis(self.data, self.config, between)

        def read(name: str, image: Path, mask: Path) -> Cut:
            files = content(image), content(mask)
            key = packs.key_of(*files, basis)
            if ready := self.memory.recall(key):
                return ready
            scene = read_scene(name, (image, mask), files, self.data, self.table)
            ready = cut(check_scene(scene, image, between, self.config), between, self.names, self.config)
            ready.known["key"] = key
            return ready

        return read_all(self.paths, read)


def print_of(name: str, image: Path, row: Row, known: Mapping[str, Any]) -> leakage.Print:
    """-> what tells a scene from others, by what is known of it.

    A checksum alone would agree by chance once in many thousand scenes; with size, sums and squares it does not.
    """
    told = known["told"]
    return leakage.Print(
        scene=name,
        part=" ".join(filter(None, (row["split"], row["fold"] and f"fold {row['fold']}"))),
        path=image,
        pixels=str([told["height"], told["width"], *told["bytes"].values(), known["pixels"]]),
        classes=str(known["classes"]),
        look=np.array(known["look"], np.uint64),
        footprint=known["footprint"] and Footprint(**known["footprint"]),
    )


def refuse_leaks(pairs: Sequence[leakage.Pair]) -> None:
    """Raises InputError that names every pair of scenes that shows one place in two splits."""
    leaks = [pair for pair in pairs if pair.leaks]
    if leaks:
        told = [
            f"{pair.first.scene} ({pair.first.part}) and {pair.second.scene} ({pair.second.part}): {pair.kind}"
            for pair in leaks
        ]
        mend = "remove one of each pair, keep both together by split.group, or accept them by normalize.leakage: report"
        raise InputError("\n  ".join([f"{len(leaks)} pairs of scenes show the same place in two splits:", *told, mend]))


def take_looks(unseen: list[tuple[dict[str, Any], np.ndarray]]) -> None:
    """Adds the look to what is known of new scenes, and forgets them.

    The library's many small steps run twice as fast one after another as between decodings, which fill the caches.
    """
    for known, small in unseen:
        known["look"] = leakage.look(small).tolist()
    unseen.clear()


def fill(ready: Iterator[tuple[str, Cut]], images: Packed, masks: Packed) -> dict[str, dict[str, Any]]:
    """Packs all scenes -> what is known of each by name, in the order of their tiles."""
    known: dict[str, dict[str, Any]] = {}
    unseen: list[tuple[dict[str, Any], np.ndarray]] = []
    for name, scene in ready:
        images.extend(scene.images)
        masks.extend(scene.classes)
        known[name] = scene.known
        if scene.small is not None:
            unseen.append((scene.known, scene.small))
        if len(unseen) == AT_ONCE:
            take_looks(unseen)
    take_looks(unseen)
    return known


def rows_of(known: Mapping[str, Mapping[str, Any]], splits: Mapping[str, Row]) -> Iterator[dict[str, object]]:
    """Yields the rows of tiles.csv."""
    places = ((splits[name], corner) for name, each in known.items() for corner in each["corners"])
    for tile, (row, (y, x)) in enumerate(places):
        yield {"tile": tile, "scene": row["scene"], "split": row["split"], "fold": row["fold"], "y": y, "x": x}


def report(classes: Sequence[str], scenes: Iterable[Mapping[str, Any]]) -> str:
    """-> the text of mask_report.json, a line for each scene: Python's encoder is fast where it does not indent."""
    lines = ",\n".join(json.dumps(scene, ensure_ascii=False, allow_nan=False) for scene in scenes)
    return f'{{"classes": {json.dumps(classes, ensure_ascii=False)}, "scenes": [\n{lines}\n]}}\n'


def run(data: Data, split: Path, fresh_scenes: Path, out: Path, config: Normalize) -> None:
    """Writes images.npy (N, H, W, bands), masks.npy (N, H, W) and what is known of them into the folder `out`.

    Beside them fresh.npz, tiles of the fresh scenes in `fresh_scenes`; empty where the scenes are the user's own.
    """
    splits = {row["scene"]: row for row in read_rows(split)}
    scenes = pair(Path(data.images), Path(data.masks), data.mask_pattern)
    if missing := sorted(splits.keys() - scenes.keys()):
        raise InputError(f"{split}: lists {missing[0]}, which {data.images} does not hold; run split again")
    ready = Scenes({name: scenes[name] for name in splits}, splits, data, config).cut()
    with packs.packing(out, config.tile, len(data.bands)) as files:
        known = fill(ready, *files)
        pairs = leakage.audit([print_of(name, scenes[name][0], splits[name], each) for name, each in known.items()])
        if config.leakage == "error":
            refuse_leaks(pairs)
        write_rows(out / "tiles.csv", rows_of(known, splits), COLUMNS)
        write_rows(out / LEAKAGE, map(leakage.row, pairs), leakage.COLUMNS)
        told = ({"scene": name, "split": splits[name]["split"], **each["told"]} for name, each in known.items())
        write_text(out / "mask_report.json", report(tuple(data.table), told))
        scenes_of, images, masks = fresh_tiles(fresh_scenes, data, config)
        with replacing(out / FRESH) as draft, draft.open("wb") as file:
            np.savez(file, scenes=scenes_of, images=images, masks=masks)
    packs.remember(out, known.values())
