"""What is taken over from the last pack: every byte as from scratch, no scene decoded again that has not changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import ELSEWHERE, NORMALIZE, SPLIT, data_in
from hypothesis import given, settings
from hypothesis import strategies as st
from styles import save_tiff

from fieldgap.base.files import read_rows, write_rows
from fieldgap.data import normalize, packs, reading, split
from fieldgap.settings.sections import Normalize


class Project:
    """A folder of scenes that are packed again and again, and the images that are decoded on the way."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch, self.decoded = folder, monkeypatch, list[str]()
        decode = reading.decode

        def counted(data: bytes, path: Path, *rest: Any) -> Any:
            self.decoded.append(path.name)
            return decode(data, path, *rest)

        monkeypatch.setattr(reading, "decode", counted)

    def bytes_in(self, out: str, memory: str, config: Normalize) -> dict[str, bytes]:
        self.patch.setattr(packs, "FOLDER", self.folder / memory)
        shutil.rmtree(self.folder / out, ignore_errors=True)  # As both engines do.
        normalize.run(data_in(self.folder), self.folder / "split.csv", ELSEWHERE, self.folder / out, config)
        return {path.name: path.read_bytes() for path in sorted((self.folder / out).iterdir())}

    def pack(self, config: Normalize = NORMALIZE, splitting: bool = True) -> list[str]:
        """Packs, holds every byte against a pack from scratch -> the names of the images that were decoded."""
        if splitting:
            split.run(data_in(self.folder), self.folder / "split.csv", SPLIT)
        self.decoded.clear()
        ours = self.bytes_in("tiles", "memory", config)
        decoded = sorted(set(self.decoded))
        shutil.rmtree(self.folder / "none", ignore_errors=True)
        assert ours == self.bytes_in("scratch", "none", config)
        return decoded

    def image(self, name: str, seed: int, size: int = 64) -> None:
        pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
        cv2.imwrite(str(self.folder / f"images/{name}.png"), pixels)

    def mask(self, name: str, seed: int, size: int = 64) -> None:
        farm = np.random.default_rng(seed).integers(0, 2, (size, size)).astype(np.uint8) * 255
        cv2.imwrite(str(self.folder / f"masks/{name}_mask.png"), farm)

    def remove(self, name: str) -> None:
        (self.folder / f"images/{name}.png").unlink()
        (self.folder / f"masks/{name}_mask.png").unlink()


@pytest.fixture
def project(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Twelve scenes, packed once."""
    for name in ("images", "masks"):
        shutil.copytree(scenes / name, tmp_path / name)
    packed = Project(tmp_path, monkeypatch)
    assert len(packed.pack()) == 12
    return packed


def test_nothing_is_decoded_when_nothing_changed(project: Project) -> None:
    assert project.pack() == []


@pytest.mark.parametrize("name", ["a_first", "scene_005b", "z_last"])
def test_a_scene_more_is_the_only_one_decoded(project: Project, name: str) -> None:
    project.image(name, seed=1)
    project.mask(name, seed=2)
    assert project.pack() == [f"{name}.png"]
    assert project.pack() == []


def test_a_scene_less_decodes_nothing(project: Project) -> None:
    project.remove("scene_004")
    assert project.pack() == []


def test_another_image_or_mask_is_decoded_alone(project: Project) -> None:
    project.image("scene_003", seed=1)
    project.mask("scene_007", seed=1)
    assert project.pack() == ["scene_003.png", "scene_007.png"]


def test_a_scene_under_another_name_or_in_another_split_is_not_decoded(project: Project) -> None:
    for kind in ("images/{}.png", "masks/{}_mask.png"):
        (project.folder / kind.format("scene_002")).rename(project.folder / kind.format("renamed"))
    assert project.pack() == []
    rows = read_rows(project.folder / "split.csv")
    for row in rows:
        row["split"] = {"train": "test", "test": "val", "val": "train"}[row["split"]]
    write_rows(project.folder / "split.csv", rows)
    assert project.pack(splitting=False) == []


@pytest.mark.parametrize("change", [{"tile": 48}, {"stride": 16}, {"min_valid": 0.5}, {"pad": True}])
def test_a_value_that_tiles_depend_on_decodes_all(project: Project, change: dict[str, Any]) -> None:
    assert len(project.pack(replace(NORMALIZE, **change))) == 12
    assert project.pack(replace(NORMALIZE, **change)) == []


def test_what_to_do_with_leaks_decodes_nothing(project: Project) -> None:
    assert project.pack(replace(NORMALIZE, leakage="report")) == []


def test_the_code_and_the_libraries_count(project: Project) -> None:
    project.patch.setattr(packs, "version", lambda name: "0")
    assert len(project.pack()) == 12


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


SCENE = 4 * 32 * 32 * 3  # Bytes of a scene's images.
DAMAGE: dict[str, tuple[Callable[[Path], object], int]] = {
    "an image's bit": (lambda memory: flip(memory / "images.npy", 128 + 3 * SCENE), 1),
    "a mask's bit": (lambda memory: flip(memory / "masks.npy", -1), 1),
    "a header": (
        lambda memory: (memory / "images.npy").write_bytes(b"?" + (memory / "images.npy").read_bytes()[1:]),
        0,
    ),
    "a cut pack": (lambda memory: (memory / "images.npy").write_bytes((memory / "images.npy").read_bytes()[:-9]), 12),
    "an empty pack": (lambda memory: (memory / "masks.npy").write_bytes(b""), 12),
    "no pack": (lambda memory: (memory / "masks.npy").unlink(), 12),
    "a line's bit": (lambda memory: flip(memory / "scenes.jsonl", -30), 12),
    "an empty line": (lambda memory: (memory / "scenes.jsonl").write_bytes(b""), 12),
    "another order": (lambda memory: (memory / "images.npy").rename(memory / "masks.npy"), 12),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_memory_is_not_passed_on(project: Project, name: str) -> None:
    damage, decoded = DAMAGE[name]
    damage(project.folder / "memory")
    assert len(project.pack()) == decoded
    assert project.pack() == []


def test_a_pack_that_is_changed_in_place_is_not_passed_on(project: Project) -> None:
    """The memory is a second name of the same file, so it changes as well."""
    project.bytes_in("tiles", "memory", NORMALIZE)
    with (project.folder / "tiles/images.npy").open("r+b") as file:
        file.seek(200)
        file.write(b"\0\1\2\3")
    assert len(project.pack()) == 1


def test_the_memory_takes_no_room_and_a_disk_without_links_has_none(project: Project) -> None:
    project.bytes_in("tiles", "memory", NORMALIZE)
    for name in packs.PACKS:
        assert (project.folder / "tiles" / name).samefile(project.folder / "memory" / name)

    def refuse(*paths: object) -> None:
        raise OSError(1, "Operation not permitted")

    shutil.rmtree(project.folder / "memory")
    project.patch.setattr(packs.os, "link", refuse)
    assert len(project.pack()) == 12
    assert list((project.folder / "memory").iterdir()) == []


def test_a_refused_scene_leaves_the_memory_as_it_was(project: Project) -> None:
    good = (project.folder / "images/scene_003.png").read_bytes()
    (project.folder / "images/scene_003.png").write_bytes(good[:-900])
    with pytest.raises(normalize.InputError, match=r"1 of 12 scenes"):
        project.pack()
    (project.folder / "images/scene_003.png").write_bytes(good)
    assert project.pack() == []


def test_sixteen_bits_are_decoded_again_where_their_limits_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path, monkeypatch)
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for i in range(5):
        save_tiff(tmp_path / f"images/{i}.tif", rng.integers(0, 5000, (64, 64, 3)).astype(np.uint16), 99 * i)
        project.mask(str(i), seed=i)
    splits = ["train", "train", "val", "test", "test"]
    write_rows(tmp_path / "split.csv", [{"scene": str(i), "split": s, "fold": ""} for i, s in enumerate(splits)])
    fixed, measured = (replace(NORMALIZE, scale=scale) for scale in ("limits:0:5000", "percentiles:1:99"))
    assert len(project.pack(measured, splitting=False)) == 5
    assert project.pack(measured, splitting=False) == ["0.tif", "1.tif"], "training scenes, for the limits"
    save_tiff(tmp_path / "images/1.tif", rng.integers(0, 9000, (64, 64, 3)).astype(np.uint16), 99)
    assert len(project.pack(measured, splitting=False)) == 5
    assert len(project.pack(fixed, splitting=False)) == 5
    save_tiff(tmp_path / "images/4.tif", rng.integers(0, 9000, (64, 64, 3)).astype(np.uint16), 396)
    assert project.pack(fixed, splitting=False) == ["0.tif", "4.tif"], "the first training scene, for its depth"


EDITS = st.tuples(st.sampled_from(["image", "mask", "remove", "tile"]), st.integers(0, 6), st.integers(0, 3))


@settings(max_examples=15, deadline=None)
@given(st.lists(EDITS, min_size=1, max_size=6))
def test_any_edits_give_the_bytes_of_a_run_from_scratch(edits: list[tuple[str, int, int]]) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        project, config = Project(Path(folder), patch), NORMALIZE
        for name in ("images", "masks"):
            (project.folder / name).mkdir()
        there = {f"s{i}" for i in range(7)}
        for i, name in enumerate(sorted(there)):
            project.image(name, i)
            project.mask(name, i)
        for kind, which, seed in edits:
            name = f"s{which}"
            if kind == "tile":
                config = replace(config, tile=(16, 32, 48, 64)[seed])
            elif kind == "remove" and len(there) > 2:
                there.discard(name)
            else:
                there.add(name)
                project.image(name, seed if kind == "image" else which)
                project.mask(name, seed if kind == "mask" else which)
            rows = [{"scene": each, "split": "train", "fold": ""} for each in sorted(there)]
            write_rows(project.folder / "split.csv", rows)
            project.pack(config, splitting=False)
