"""Stage normalize: masks to class indices, scenes to packed uint8 tiles, a few scenes in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldgap import leakage
from fieldgap.errors import InputError
from fieldgap.files import read_rows, replacing, write_json, write_rows
from fieldgap.fresh import fresh_tiles
from fieldgap.labels import IGNORE
from fieldgap.masks import tally_bytes
from fieldgap.reading import Paths, Scene, read_all, read_scene
from fieldgap.scaling import Histogram, limits, to_bytes
from fieldgap.scenes import pair
from fieldgap.tiling import laid_out

if TYPE_CHECKING:
    from fieldgap.sections import Data, Normalize

Row = dict[str, str]
Limits = list[tuple[float, float]]


class Packed:
    """Appends equal arrays to a .npy file. Numpy pads the header so that the first axis can grow in place."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.file, self.shape, self.count = path.open("w+b"), shape, 0
        self.write_header()

    def write_header(self) -> None:
        self.file.seek(0)
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.count, *self.shape)}
        np.lib.format.write_array_header_1_0(self.file, header)

    def append(self, array: np.ndarray) -> None:
        self.file.write(array.tobytes())
        self.count += 1

    def __enter__(self) -> Packed:
        return self

    def __exit__(self, *error: object) -> None:
        self.write_header()
        self.file.close()


@dataclass(frozen=True)
class Cut:
    """A scene ready to pack: its bytes (H, W, bands), its classes (H, W), its tiles' corners, what is told of it."""

    image: np.ndarray
    classes: np.ndarray
    corners: list[tuple[int, int]]
    mark: leakage.Print
    told: dict[str, Any]

    @property
    def values(self) -> Mapping[str, int]:
        return self.told["values"]


def sums(image: np.ndarray, valid: np.ndarray | None) -> dict[str, Any]:
    """(H, W, bands) uint8 -> the number of pixels with data, and each band's exact sum and sum of squares over them."""
    chosen = None if valid is None else valid.view(np.uint8)
    tallies = np.stack([tally_bytes(image, band, chosen) for band in range(image.shape[2])])
    levels = np.arange(256)
    count = image[:, :, 0].size if valid is None else int(valid.sum())
    return {"n": count, "sum": (tallies @ levels).tolist(), "squares": (tallies @ levels**2).tolist()}


def cut(scene: Scene, row: Row, between: Limits | None, names: Sequence[str], config: Normalize) -> Cut:
    """-> a scene scaled, padded, and marked where tiles with enough valid pixels lie."""
    image = to_bytes(scene.image.pixels, between) if between else scene.image.pixels
    mark = leakage.Print(
        scene=scene.name,
        part=" ".join(filter(None, (row["split"], row["fold"] and f"fold {row['fold']}"))),
        path=scene.path,
        pixels=leakage.digest(scene.image.pixels),
        classes=leakage.digest(scene.classes),
        look=leakage.look(image),
        footprint=scene.image.footprint,
    )
    height, width = scene.classes.shape
    pixels = tally_bytes(scene.classes)
    told = {
        "scene": scene.name,
        "split": row["split"],
        "height": height,
        "width": width,
        "pixels": {**dict(zip(names, pixels.tolist(), strict=False)), "ignore": int(pixels[IGNORE])},
        "values": dict(scene.values.most_common()),
        "pixels_snapped": scene.mask.snapped,
        "bytes": sums(image, scene.image.valid),
    }
    whole, classes, corners = laid_out(image, scene.classes, config)
    left_out = np.ones(classes.shape, bool)
    for y, x in corners:
        left_out[y : y + config.tile, x : x + config.tile] = False
    told |= {"tiles": len(corners), "pixels_left_out": int(left_out[:height, :width].sum())}
    return Cut(whole, classes, corners, mark, told)


def measure_limits(paths: Paths, splits: Mapping[str, Row], data: Data, scale: str) -> Limits | None:
    """-> what becomes 0 and 255 in each band of 16-bit scenes, from the training scenes alone; None for 8-bit ones."""
    training = {scene: files for scene, files in paths.items() if splits[scene]["split"] == "train"}
    histogram = Histogram(len(data.bands))
    with suppress(InputError):  # What is unfit is named with all other scenes, when they are read to be cut.
        for _, scene in read_all(training, lambda name, image, mask: read_scene(name, image, mask, data)):
            if scene.image.pixels.dtype == np.uint8:
                return None
            histogram.add(scene.image.pixels, scene.image.valid)
    return limits(scale, histogram)


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


def cut_all(paths: Paths, splits: Mapping[str, Row], data: Data, config: Normalize) -> Iterator[Cut]:
    """Yields each scene ready to pack, in order. Raises InputError that lists every unfit file, after the last."""
    between = measure_limits(paths, splits, data, config.scale)
    names = tuple(data.table)

    def read(name: str, image: Path, mask: Path) -> Cut:
        scene = check_scene(read_scene(name, image, mask, data), image, between, config)
        return cut(scene, splits[name], between, names, config)

    for _, ready in read_all(paths, read):
        yield ready


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


def run(data: Data, split: Path, population: Path, out: Path, config: Normalize) -> None:
    """Writes images.npy (N, H, W, bands), masks.npy (N, H, W) and what is known of them into the folder `out`.

    Beside them population.npz, tiles of the fresh scenes in `population`; empty where the scenes are the user's own.
    """
    splits = {row["scene"]: row for row in read_rows(split)}
    scenes = pair(Path(data.images), Path(data.masks), data.mask_pattern)
    if missing := sorted(splits.keys() - scenes.keys()):
        raise InputError(f"{split}: lists {missing[0]}, which {data.images} does not hold; run split again")
    rows: list[dict[str, object]] = []
    told: list[dict[str, Any]] = []
    prints: list[leakage.Print] = []
    tile = config.tile
    with ExitStack() as stack:
        image_draft, mask_draft = (stack.enter_context(replacing(out / f"{n}.npy")) for n in ("images", "masks"))
        image_file = stack.enter_context(Packed(image_draft, (tile, tile, len(data.bands))))
        mask_file = stack.enter_context(Packed(mask_draft, (tile, tile)))
        for ready in cut_all({name: scenes[name] for name in splits}, splits, data, config):
            row = splits[ready.mark.scene]
            for y, x in ready.corners:
                image_file.append(ready.image[y : y + tile, x : x + tile])
                mask_file.append(ready.classes[y : y + tile, x : x + tile])
                rows.append({"tile": len(rows), **{k: row[k] for k in ("scene", "split", "fold")}, "y": y, "x": x})
            told.append(ready.told)
            prints.append(ready.mark)
        pairs = leakage.audit(prints)
        if config.leakage == "error":
            refuse_leaks(pairs)
        write_rows(out / "tiles.csv", rows)
        write_rows(out / "leakage.csv", map(leakage.row, pairs), leakage.COLUMNS)
        write_json(out / "mask_report.json", {"classes": list(data.table), "scenes": told})
        scenes_of, images, masks = fresh_tiles(population, data, config)
        with replacing(out / "population.npz") as draft, draft.open("wb") as file:
            np.savez(file, scenes=scenes_of, images=images, masks=masks)
