"""Stage normalize: masks to class indices, scenes to packed uint8 tiles, one scene in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldgap.errors import InputError
from fieldgap.files import read_rows, replacing, write_json, write_rows
from fieldgap.images import read_image, read_mask
from fieldgap.masks import CLASSES, to_classes
from fieldgap.scenes import pair

if TYPE_CHECKING:
    from fieldgap.settings import Normalize


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


def read_scene(image_path: Path, mask_path: Path, tile: int) -> tuple[np.ndarray, np.ndarray]:
    """-> image (H, W, 3) uint8 and classes (H, W) uint8. Raises InputError when they do not fit together."""
    image, classes = read_image(image_path), to_classes(read_mask(mask_path), mask_path)
    if image.shape[:2] != classes.shape:
        raise InputError(
            f"{mask_path}: is {classes.shape[1]} x {classes.shape[0]} px but {image_path.name} is "
            f"{image.shape[1]} x {image.shape[0]} px; a mask has the size of its image"
        )
    if min(classes.shape) < tile:
        raise InputError(
            f"{image_path}: is {classes.shape[1]} x {classes.shape[0]} px, smaller than a tile; "
            f"lower normalize.tile ({tile}) or remove it"
        )
    return image, classes


def corners(height: int, width: int, tile: int) -> Iterator[tuple[int, int]]:
    """-> the upper left corner of each whole tile, row by row; a rest at the right or lower edge is left out."""
    for y in range(0, height - tile + 1, tile):
        for x in range(0, width - tile + 1, tile):
            yield y, x


def pixel_statistics(total: np.ndarray, squares: np.ndarray, count: int) -> dict[str, list[float]]:
    """Sums over pixels of (R, G, B) and of their squares -> mean and standard deviation on the scale 0 to 255."""
    mean = total / count
    return {"mean": mean.tolist(), "std": np.sqrt(np.maximum(squares / count - mean**2, 1)).tolist()}


def all_scenes(paths: dict[str, tuple[Path, Path]], tile: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yields stem, image and classes; after the last scene raises one InputError that lists every unfit file."""
    problems = []
    for scene, (image_path, mask_path) in paths.items():
        try:
            yield scene, *read_scene(image_path, mask_path, tile)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n  ".join([f"{len(problems)} of {len(paths)} scenes cannot be used:", *problems]))


def run(images: Path, masks: Path, mask_pattern: str, split: Path, out: Path, config: Normalize) -> None:
    """Writes images.npy (N, H, W, 3), masks.npy (N, H, W), tiles.csv and mask_report.json into the folder `out`."""
    tile = config.tile
    splits = {row["scene"]: row["split"] for row in read_rows(split)}
    paths = {scene: files for scene, files in pair(images, masks, mask_pattern).items() if scene in splits}
    if missing := sorted(splits.keys() - paths.keys()):
        raise InputError(f"{split}: lists {missing[0]}, which {images} does not hold; run split again")
    rows: list[dict[str, object]] = []
    report: list[dict[str, Any]] = []
    total, squares, count = np.zeros(3), np.zeros(3), 0
    with ExitStack() as stack:
        image_draft, mask_draft = (stack.enter_context(replacing(out / f"{n}.npy")) for n in ("images", "masks"))
        image_file = stack.enter_context(Packed(image_draft, (tile, tile, 3)))
        mask_file = stack.enter_context(Packed(mask_draft, (tile, tile)))
        for scene, image, classes in all_scenes(paths, tile):
            first = len(rows)
            for y, x in corners(classes.shape[0], classes.shape[1], tile):
                image_file.append(image[y : y + tile, x : x + tile])
                mask_file.append(classes[y : y + tile, x : x + tile])
                rows.append({"tile": len(rows), "scene": scene, "split": splits[scene], "y": y, "x": x})
            report.append(
                {
                    "scene": scene,
                    "split": splits[scene],
                    "height": classes.shape[0],
                    "width": classes.shape[1],
                    "tiles": len(rows) - first,
                    "pixels_left_out": classes.size - (len(rows) - first) * tile**2,
                    "pixels": dict(zip(CLASSES, np.bincount(classes.ravel(), minlength=2).tolist(), strict=True)),
                }
            )
            if splits[scene] == "train":
                pixels = image.reshape(-1, 3).astype(np.float64)
                total, squares, count = total + pixels.sum(0), squares + (pixels**2).sum(0), count + len(pixels)
        write_rows(out / "tiles.csv", rows)
        write_json(
            out / "mask_report.json", {"train_pixels": pixel_statistics(total, squares, count), "scenes": report}
        )
