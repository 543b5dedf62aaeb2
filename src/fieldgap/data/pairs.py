"""Scenes: an image and its mask, found by name. Reads no file, so that the Snakefile can list inputs at once."""

from __future__ import annotations

import stat
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from fieldgap.base.errors import InputError

if TYPE_CHECKING:
    from fieldgap.settings.sections import Data

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def fault(path: Path, folder: Path) -> str | None:
    """-> why a name in a folder is no file to read; None for a good one."""
    if not path.name.isprintable() or set(path.name) & set("{}"):
        return "its name holds a brace or a character that does not print; rename it"
    if stat.S_ISREG(path.lstat().st_mode):
        return None
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        return f"is a link that leaves {folder}; put the file itself there, or name its own folder"
    if not path.is_file():
        return "is no file; move it elsewhere"
    return None


def image_files(folder: Path) -> list[Path]:
    """-> what is named like an image in a folder, sorted; hidden names are passed over."""
    found = (p for p in folder.iterdir() if p.name.lower().endswith(SUFFIXES) and not p.name.startswith("."))
    return sorted(found, key=lambda path: path.name)  # Paths themselves compare part by part, which is slow.


def listing(folder: Path, key: str) -> list[Path]:
    """-> the image files of a folder, sorted by name; what is hidden or has another suffix is passed over.

    Raises InputError for a missing or empty folder, and one that lists every name that is no file to read.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; set {key} to the folder that holds your {key.rsplit('.', maxsplit=1)[-1]}"
        )
    found = image_files(folder)
    if not found:
        raise InputError(f"{folder}: holds no image file ({', '.join(SUFFIXES)}); set {key} to another folder")
    faults = {path: says for path in found if (says := fault(path, folder))}
    if faults:
        listed = [f"{path if path.name.isprintable() else repr(str(path))}: {says}" for path, says in faults.items()]
        raise InputError("\n  ".join([f"{len(listed)} of {len(found)} names in {folder} cannot be used:", *listed]))
    return found


def key_of(name: str) -> str:
    """-> a file name to compare by: its suffix in lower case, and each accented letter one character.

    Some systems store an accent as a character of its own, so equal names may differ in bytes.
    """
    stem, dot, suffix = unicodedata.normalize("NFC", name).rpartition(".")
    return stem + dot + suffix.lower() if dot else suffix


def pair(images: Path, masks: Path, mask_pattern: str) -> dict[str, tuple[Path, Path]]:
    """-> each scene's stem with its image and mask, sorted by stem.

    A stem is the name without its last suffix, so it may hold dots. Images and masks may share a folder. Raises
    InputError that lists every image without a mask, or the first stem that two images share.
    """
    prefix, suffix = map(key_of, mask_pattern.split("{stem}"))
    found = listing(images, "data.images")
    there: dict[str, Path] = {}
    for path in listing(masks, "data.masks"):
        if (name := key_of(path.name)) in there:
            raise InputError(f"{path}: has the name of {there[name].name} but for case; rename one of them")
        there[name] = path
    scenes: dict[str, tuple[Path, Path]] = {}
    lost = []
    for image in found:
        name = key_of(image.name)
        if images == masks and name.startswith(prefix) and name.endswith(suffix):
            continue
        stem = name.rpartition(".")[0]
        if stem in scenes:
            raise InputError(f"{image}: shares its stem with {scenes[stem][0].name}; rename one of them")
        expected = f"{prefix}{stem}{suffix}"
        if expected not in there:
            lost.append(f"{image} (expected {expected})")
        scenes[stem] = (image, there.get(expected, image))
    if lost:
        raise InputError(
            f"{len(lost)} of {len(scenes)} images have no mask in {masks}: {'; '.join(lost)}; "
            "add the masks, remove the images, or set data.mask_pattern"
        )
    if not scenes:
        raise InputError(
            f"{images}: each of its images is a mask by data.mask_pattern {mask_pattern}; change the pattern"
        )
    return dict(sorted(scenes.items()))


def belongs(fresh_scenes: Path, data: Data) -> bool:
    """-> whether the scenes are those that stage demo drew beside this file; of the user's own there are no more."""
    return (Path(data.images), Path(data.masks)) == (fresh_scenes.with_name("images"), fresh_scenes.with_name("masks"))
