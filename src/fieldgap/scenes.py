"""Scenes: an image and its mask, found by name. Reads no file, so that the Snakefile can list inputs at once."""

from __future__ import annotations

from pathlib import Path

from fieldgap.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def listing(folder: Path, key: str) -> list[Path]:
    """-> the image files of a folder, sorted by name. Raises InputError for a missing or empty one."""
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; set {key} to the folder that holds your {key.rsplit('.', maxsplit=1)[-1]}"
        )
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise InputError(f"{folder}: holds no image file ({', '.join(SUFFIXES)}); set {key} to another folder")
    return found


def pair(images: Path, masks: Path, mask_pattern: str) -> dict[str, tuple[Path, Path]]:
    """-> each scene's stem with its image and mask, sorted by stem.

    A stem is the name without its last suffix, so it may hold dots. Images and masks may share a folder. Raises
    InputError that lists every image without a mask, or the first stem that two images share.
    """
    prefix, suffix = mask_pattern.split("{stem}")
    scenes: dict[str, tuple[Path, Path]] = {}
    for image in listing(images, "data.images"):
        if images == masks and image.name.startswith(prefix) and image.name.endswith(suffix):
            continue
        if image.stem in scenes:
            raise InputError(f"{image}: shares its stem with {scenes[image.stem][0].name}; rename one of them")
        scenes[image.stem] = (image, masks / mask_pattern.replace("{stem}", image.stem))
    there = set(listing(masks, "data.masks"))
    if lost := [f"{image} (expected {mask.name})" for image, mask in scenes.values() if mask not in there]:
        raise InputError(
            f"{len(lost)} of {len(scenes)} images have no mask in {masks}: {'; '.join(lost)}; "
            "add the masks, remove the images, or set data.mask_pattern"
        )
    return dict(sorted(scenes.items()))
