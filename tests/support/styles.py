"""Drawn scenes, written in the formats and layouts of users' folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import rasterio
from PIL import Image
from rasterio.transform import from_origin

Scene = tuple[np.ndarray, np.ndarray]  # Image (H, W, 3) uint8, and farmland (H, W) bool.


def folders(folder: Path) -> tuple[Path, Path]:
    for name in ("images", "masks"):
        (folder / name).mkdir()
    return folder / "images", folder / "masks"


def save(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W), (H, W, 3) or (H, W, 4), colours as red, green, blue."""
    stored = pixels if pixels.ndim == 2 else pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    quality = [cv2.IMWRITE_JPEG_QUALITY, 80] if path.suffix == ".jpg" else []
    assert cv2.imwrite(str(path), np.ascontiguousarray(stored), quality)


def save_tiff(path: Path, pixels: np.ndarray, place: int, **profile: object) -> None:
    """Write (H, W, bands) as a GeoTIFF with pixels of 2 m; scenes at different places do not touch."""
    height, width, bands = pixels.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=bands,
        dtype=pixels.dtype,
        crs="EPSG:32615",
        transform=from_origin(500_000 + 1000 * place, 4_400_000, 2, 2),
        **profile,
    ) as file:
        file.write(np.moveaxis(pixels, 2, 0))


def two_folders(folder: Path, scenes: list[Scene]) -> None:
    images, masks = folders(folder)
    for i, (image, farm) in enumerate(scenes):
        save(images / f"s{i:02d}.png", image)
        save(masks / f"s{i:02d}_mask.png", farm * np.uint8(255))


def one_folder_of_odd_names(folder: Path, scenes: list[Scene]) -> None:
    """Write names with dots, spaces, accents and upper-case suffixes, beside side-car and hidden files."""
    for i, (image, farm) in enumerate(scenes):
        stem = f"Açores 40.{i:02d}--8.5 (v2)"
        save(folder / f"{stem}.PNG", image)
        save(folder / f"{stem}_mask.png", farm * np.uint8(255))
        (folder / f"{stem}.PNG.aux.xml").write_text("<PAMDataset/>")
        (folder / f"._{stem}.PNG").write_bytes(b"\0\5\x16\7")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf")


def blurred_jpegs(folder: Path, scenes: list[Scene]) -> None:
    images, masks = folders(folder)
    for i, (image, farm) in enumerate(scenes):
        save(images / f"s{i:02d}.jpg", image)
        save(masks / f"s{i:02d}.jpg", farm * np.uint8(255))


def sixteen_bit_geotiffs(folder: Path, scenes: list[Scene]) -> None:
    """Write four bands with a border without data, and masks of 0 and 1 as TIFF."""
    images, masks = folders(folder)
    for i, (image, farm) in enumerate(scenes):
        bands = np.dstack([image, image[:, :, 1]]).astype(np.uint16) * 37 + 400
        bands[:, :6] = 0
        save_tiff(images / f"s{i:02d}.tif", bands, i, nodata=0)
        save_tiff(masks / f"label_s{i:02d}.tif", farm[:, :, None].astype(np.uint8), i)


def transparent_images(folder: Path, scenes: list[Scene]) -> None:
    images, masks = folders(folder)
    for i, (image, farm) in enumerate(scenes):
        alpha = np.full(farm.shape, 255, np.uint8)
        alpha[:8] = 0
        save(images / f"s{i:02d}.png", np.dstack([image, alpha]))
        save(masks / f"s{i:02d}_mask.png", farm.astype(np.uint8))


def grey_images_and_one_bit_masks(folder: Path, scenes: list[Scene]) -> None:
    images, masks = folders(folder)
    for i, (image, farm) in enumerate(scenes):
        save(images / f"s{i:02d}.png", cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
        Image.fromarray(farm).save(masks / f"s{i:02d}_mask.png")


def three_classes(image: np.ndarray, farm: np.ndarray) -> np.ndarray:
    """Return classes (H, W): 0, and on farmland 1 or 2 by its brightness."""
    return farm * (1 + (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) > 120)).astype(np.uint8)


def colour_masks(folder: Path, scenes: list[Scene]) -> None:
    images, masks = folders(folder)
    colours = np.array([[0, 0, 0], [0, 255, 0], [255, 255, 0]], np.uint8)
    for i, (image, farm) in enumerate(scenes):
        save(images / f"s{i:02d}.png", image)
        save(masks / f"s{i:02d}.png", colours[three_classes(image, farm)])


def indexed_masks_with_a_border(folder: Path, scenes: list[Scene]) -> None:
    """Write masks with a palette of colours: classes 0, 1 and 2, and 255 for unlabelled pixels."""
    images, masks = folders(folder)
    for i, (image, farm) in enumerate(scenes):
        classes = three_classes(image, farm)
        classes[:, -5:] = 255
        indexed = Image.fromarray(classes, "P")
        indexed.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0] + [224, 224, 192] * 253)
        save(images / f"s{i:02d}.png", image)
        indexed.save(masks / f"s{i:02d}.png")


STYLES: dict[str, Callable[[Path, list[Scene]], None]] = {
    style.__name__.replace("_", " "): style
    for style in (
        two_folders,
        one_folder_of_odd_names,
        blurred_jpegs,
        sixteen_bit_geotiffs,
        transparent_images,
        grey_images_and_one_bit_masks,
        colour_masks,
        indexed_masks_with_a_border,
    )
}
