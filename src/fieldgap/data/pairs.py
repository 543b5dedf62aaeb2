"""Images and masks paired by name. Reads no file, so that the Snakefile can list inputs quickly."""

from __future__ import annotations

import stat
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fieldgap.base.errors import InputError
from fieldgap.base.names import dvc_cache

if TYPE_CHECKING:
    from fieldgap.settings.sections import Data

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".jp2", ".j2k", ".webp", ".bmp", ".gif"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".npy", ".npz"),
)
STEM = "{stem}"
ScenePaths = Mapping[str, tuple[Path, Path]]  # The image and the mask of each scene, by the scene's name.


def _fault(path: Path, places: Sequence[Path]) -> str | None:
    """Return why a file cannot be used. A link may lead to its own folder or into DVC's cache, the `places`."""
    if not path.name.isprintable() or set(path.name) & set("{}"):
        return "its name contains a brace or an unprintable character; rename it"
    if stat.S_ISREG(path.lstat().st_mode):
        return None
    if path.is_symlink() and not any(path.resolve().is_relative_to(place) for place in places):
        return f"is a link that leaves {path.parent}; copy the file itself there, or name its own folder"
    if path.is_symlink() and not path.exists():
        return "is a link to a file that is gone; bring the file back, for instance by dvc pull"
    if not path.is_file():
        return "is not a file; move it elsewhere"
    return None


def is_image_name(name: str) -> bool:
    """Return whether a file is named like an image; a hidden one is not."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def image_files(folder: Path) -> list[Path]:
    """Return the paths in a folder that are named like images, sorted by name, without hidden ones."""
    files = (path for path in folder.iterdir() if is_image_name(path.name))
    return sorted(files, key=lambda path: path.name)  # Paths themselves compare part by part, which is slow.


def _checked_files(folder: Path, key: str) -> list[Path]:
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; set {key} to the folder that holds your {key.rsplit('.', maxsplit=1)[-1]}"
        )
    files = image_files(folder)
    if not files:
        raise InputError(f"{folder}: contains no image files ({', '.join(SUFFIXES)}); set {key} to another folder")
    places = [folder.resolve(), dvc_cache().resolve()]  # DVC links to its cache if it is told to.
    if faults := {path: fault for path in files if (fault := _fault(path, places))}:
        listed = [f"{path if path.name.isprintable() else repr(str(path))}: {fault}" for path, fault in faults.items()]
        raise InputError("\n  ".join([f"{len(listed)} of {len(files)} names in {folder} cannot be used:", *listed]))
    return files


def canonical_name(name: str) -> str:
    """Return a file name in the form that names are compared in.

    The suffix is in lower case, and an accented letter is one character: some systems store the accent as a character
    of its own, so equal names may differ in bytes.
    """
    stem, dot, suffix = unicodedata.normalize("NFC", name).rpartition(".")
    return stem + dot + suffix.lower() if dot else suffix


def _masks_by_name(folder: Path) -> dict[str, Path]:
    masks: dict[str, Path] = {}
    for path in _checked_files(folder, "data.masks"):
        if (name := canonical_name(path.name)) in masks:
            raise InputError(f"{path}: differs from {masks[name].name} only in case or accents; rename one of them")
        masks[name] = path
    return masks


def _match(
    images: Path, masks: Path, mask_pattern: str, image_pattern: str = STEM
) -> tuple[dict[str, tuple[Path, Path]], dict[Path, str]]:
    """Return the image and mask of each scene, sorted by the scene's name, and the names of the masks that are missing.

    A scene's name is what the image pattern has for {stem}. With that alone it is the image's file name without the
    last suffix, so it may contain dots; with more, files of other names are no images. Images and masks may share a
    folder, and those of a scene an .npz file.

    Raises:
        InputError: A folder is missing, empty or contains names that cannot be used, or two images share a stem.
    """
    prefix, suffix = map(canonical_name, mask_pattern.split(STEM))
    before, after = map(canonical_name, image_pattern.split(STEM))
    image_paths, mask_paths = _checked_files(images, "data.images"), _masks_by_name(masks)
    scenes: dict[str, tuple[Path, Path]] = {}
    apart = images != masks or f"{prefix}{suffix}" == ".npz"
    unmatched: dict[Path, str] = {}
    for image in image_paths:
        name = canonical_name(image.name)
        if image_pattern == STEM and not apart and name.startswith(prefix) and name.endswith(suffix):
            continue
        if not (name.startswith(before) and name.endswith(after) and len(name) > len(before + after)):
            continue
        stem = name[len(before) : len(name) - len(after)] if after else name[len(before) :].rpartition(".")[0]
        if stem in scenes:
            raise InputError(f"{image}: shares its stem with {scenes[stem][0].name}; rename one of them")
        expected = f"{prefix}{stem}{suffix}"
        if expected not in mask_paths:
            unmatched[image] = expected
        scenes[stem] = (image, mask_paths.get(expected, image))
    if not scenes and image_pattern != STEM:
        raise InputError(f"{images}: none of its files is named like data.image_pattern {image_pattern}; change it")
    if not scenes:
        raise InputError(
            f"{images}: all of its images match data.mask_pattern {mask_pattern}, so all are masks; change the pattern"
        )
    return {stem: pair for stem, pair in sorted(scenes.items()) if pair[0] not in unmatched}, unmatched


def labelled(
    images: Path, masks: Path, mask_pattern: str, unlabelled: str, image_pattern: str
) -> tuple[dict[str, tuple[Path, Path]], list[Path]]:
    """Return the image and mask of each scene, sorted by the scene's name, and the images that are left out.

    Raises:
        InputError: As by `_match`; or no image has a mask, or some have none and `unlabelled` is not skip. All are
            listed.
    """
    scenes, unmatched = _match(images, masks, mask_pattern, image_pattern)
    if unmatched and (unlabelled != "skip" or not scenes):
        listed = "; ".join(f"{image} (expected {expected})" for image, expected in unmatched.items())
        raise InputError(
            f"{len(unmatched)} of {len(scenes) + len(unmatched)} images have no mask in {masks}: {listed}; "
            "add the masks, set data.mask_pattern, or leave these images out by data.unlabelled: skip"
        )
    return scenes, list(unmatched)


def labelled_in(data: Data) -> tuple[dict[str, tuple[Path, Path]], list[Path]]:
    """Return the scenes of a project and the images that are left out, as `labelled` does."""
    return labelled(Path(data.images), Path(data.masks), data.mask_pattern, data.unlabelled, data.image_pattern)


def scenes_in(data: Data) -> dict[str, tuple[Path, Path]]:
    """Return the image and mask of each scene of a project. Raises InputError as `labelled` does."""
    return labelled_in(data)[0]


def has_fresh_scenes(data: Data, fresh_scenes: Path) -> bool:
    """Return whether stage demo drew the data beside `fresh_scenes`. Your own scenes have no fresh ones."""
    return (Path(data.images), Path(data.masks)) == (fresh_scenes.with_name("images"), fresh_scenes.with_name("masks"))
