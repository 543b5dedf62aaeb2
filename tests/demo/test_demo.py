"""The drawn data set: deterministic scenes, exact masks, the promised files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fieldgap.base.errors import InputError
from fieldgap.demo import demo
from fieldgap.demo.scene import draw_scene
from fieldgap.settings.sections import Demo


@pytest.fixture(scope="module")
def masks() -> list[np.ndarray]:
    """Masks of 24 scenes of 256 px."""
    return [draw_scene(256, 0, index)[1] for index in range(24)]


def config(scenes: int, size: int = 64, seed: int = 3, fresh: int = 0) -> Demo:
    return Demo(scenes=scenes, size=size, seed=seed, fresh=fresh)


def draw_into(folder: Path, config: Demo) -> None:
    demo.run(folder / "images", folder / "masks", folder / "fresh.npz", config)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file under `folder` by its path there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("index", "digest"),
    [
        (0, "0ebb8fdcf7b7e2207b456dea71d44781c523a9e06fd3c5ba27102c427c085ed1"),
        (1, "f7e48da4fcc7d405e650fc7ee78bbc207a831564b67b1d7107d43dc83ee3abea"),
        (2, "c7d61af08e552700e5d7866281b76fe8541ecb65dacc2f100eaa0f910f23fdad"),
    ],
)
def test_scenes_keep_their_bytes(index: int, digest: str) -> None:
    """Results of the default ablation hold for these pixels. At this size, OpenCV gives them with and without AVX2."""
    image, mask = draw_scene(128, 0, index)
    assert hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest() == digest


def test_same_seed_gives_same_bytes_on_any_number_of_threads() -> None:
    """A second drawing with one thread equals the first with the default number."""
    first = draw_scene(256, 7, 2)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        second = draw_scene(256, 7, 2)
    finally:
        cv2.setNumThreads(threads)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_a_scene_does_not_depend_on_how_many_are_drawn(tmp_path: Path) -> None:
    """The files of a short run are files of a longer run, byte for byte."""
    for scenes in (3, 5):
        draw_into(tmp_path / str(scenes), config(scenes))
    short, long = contents(tmp_path / "3"), contents(tmp_path / "5")
    del short["fresh.npz"]
    assert len(short) == 6
    assert short.items() <= long.items()


@pytest.mark.parametrize(("seed", "index"), [(0, 1), (1, 0)])
def test_other_seeds_and_indices_give_other_scenes(seed: int, index: int) -> None:
    ours, theirs = draw_scene(128, 0, 0), draw_scene(128, seed, index)
    assert (ours[0] != theirs[0]).mean() > 0.5
    assert (ours[1] != theirs[1]).any()


@pytest.mark.parametrize("size", [32, 100, 256])
def test_any_size_has_both_classes(size: int) -> None:
    for index in range(4):
        image, mask = draw_scene(size, 0, index)
        assert image.shape == (size, size, 3)
        assert mask.shape == (size, size)
        assert image.dtype == mask.dtype == np.uint8
        assert set(np.unique(mask)) == {0, 255}


def test_farmland_share_is_balanced_and_varies(masks: list[np.ndarray]) -> None:
    """The mean is near 0.6, and no scene has only one class."""
    shares = np.array([(mask == 255).mean() for mask in masks])
    assert 0.5 < shares.mean() < 0.75
    assert shares.std() > 0.05
    assert shares.min() > 0.1
    assert shares.max() < 0.98


def test_written_files_hold_the_drawn_scene_in_rgb(tmp_path: Path) -> None:
    """A scene read back with OpenCV, which orders BGR, equals the drawn one."""
    draw_into(tmp_path, config(3))
    image, mask = draw_scene(64, 3, 0)
    read: Any = cv2.imread(str(tmp_path / "images" / "scene_000.png"))
    np.testing.assert_array_equal(cv2.cvtColor(read, cv2.COLOR_BGR2RGB), image)
    read = cv2.imread(str(tmp_path / "masks" / "scene_000_mask.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read, mask)


def test_run_writes_exactly_the_named_files(tmp_path: Path) -> None:
    draw_into(tmp_path / "new", config(3, size=32))
    assert demo.scene_names(3) == ["scene_000", "scene_001", "scene_002"]
    images = {f"images/{stem}.png" for stem in demo.scene_names(3)}
    assert set(contents(tmp_path / "new")) == {"fresh.npz"} | images | {
        f"masks/{stem}_mask.png" for stem in demo.scene_names(3)
    }


def test_fresh_scenes_are_the_next_of_the_sequence(tmp_path: Path) -> None:
    """So none of them is in the data, and the data do not depend on their number."""
    draw_into(tmp_path / "some", config(3, size=32, fresh=2))
    draw_into(tmp_path / "none", config(3, size=32))
    with np.load(tmp_path / "some/fresh.npz") as fresh:
        for number in range(2):
            image, mask = draw_scene(32, 3, 3 + number)
            np.testing.assert_array_equal(fresh["images"][number], image)
            np.testing.assert_array_equal(fresh["masks"][number], mask)
    some, none = contents(tmp_path / "some"), contents(tmp_path / "none")
    assert some.pop("fresh.npz") != none.pop("fresh.npz")
    assert some == none
    with np.load(tmp_path / "none/fresh.npz") as fresh:
        assert fresh["images"].shape == (0, 32, 32, 3)


def statistics(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return (N, 8): the share of farmland, means and deviations of the colours, and roughness of each scene."""
    rough = np.abs(np.diff(images.astype(float), axis=2)).mean((1, 2, 3))
    columns = [(masks > 0).mean((1, 2)), *images.mean((1, 2)).T, *images.std((1, 2)).T, rough]
    return np.stack(columns, 1)


def smallest_p(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the smallest p over columns, by Bonferroni, of a permutation test of equal means."""
    both, rng = np.concatenate([ours, theirs]), np.random.default_rng(0)
    both = (both - both.mean(0)) / both.std(0)

    def apart(order: np.ndarray) -> np.ndarray:
        return np.abs(both[order[: len(ours)]].mean(0) - both[order[len(ours) :]].mean(0))

    observed = apart(np.arange(len(both)))
    chance = np.stack([apart(rng.permutation(len(both))) for _ in range(2000)])
    return float(min(1, observed.size * ((chance >= observed).sum(0) + 1).min() / 2001))


def test_fresh_scenes_are_of_the_kind_of_the_data(tmp_path: Path) -> None:
    """By a permutation test, which detects scenes that are a little brighter or have more farmland."""
    draw_into(tmp_path, config(60, size=64, fresh=60))
    read: Any = [cv2.imread(str(path)) for path in sorted((tmp_path / "images").iterdir())]
    images = np.stack(read)[..., ::-1]
    masks: Any = np.stack([cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in sorted((tmp_path / "masks").iterdir())])
    with np.load(tmp_path / "fresh.npz") as fresh:
        theirs = statistics(fresh["images"], fresh["masks"])
    ours = statistics(images, masks)
    assert smallest_p(ours, theirs) > 0.05
    assert smallest_p(ours, theirs + np.array([0, 20, 20, 20, 0, 0, 0, 0])) < 0.01
    assert smallest_p(ours, theirs + np.array([0.15, 0, 0, 0, 0, 0, 0, 0])) < 0.01


def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "images" / "scene_000.png").mkdir(parents=True)
    with pytest.raises(InputError, match="scene_000"):
        draw_into(tmp_path, config(3, size=32))


def test_a_size_too_small_is_refused() -> None:
    with pytest.raises(InputError, match=r"demo\.size: 31 px are too few"):
        draw_scene(31, 0, 0)
