from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ELSEWHERE, NORMALIZE, data_in

from fieldgap.base.errors import InputError
from fieldgap.base.labels import IGNORE
from fieldgap.data.fresh import fresh_tiles


def test_fresh_scenes_are_cut_into_all_their_tiles(scenes: Path) -> None:
    numbers, images, masks = fresh_tiles(scenes / "fresh.npz", data_in(scenes), NORMALIZE)
    drawn = np.load(scenes / "fresh.npz")
    assert numbers.tolist() == [scene for scene in range(5) for _ in range(4)]
    for scene in range(5):
        for place, window in enumerate(np.s_[y : y + 32, x : x + 32] for y in (0, 32) for x in (0, 32)):
            np.testing.assert_array_equal(images[4 * scene + place], drawn["images"][scene][window])
            np.testing.assert_array_equal(masks[4 * scene + place], drawn["masks"][scene][window] == 255)


def test_they_follow_bands_classes_and_padding_of_the_data(scenes: Path) -> None:
    data = data_in(scenes, bands=(3, 1), foreground=("0",), background=("255",))
    _, images, masks = fresh_tiles(scenes / "fresh.npz", data, replace(NORMALIZE, tile=48, pad=True))
    drawn = np.load(scenes / "fresh.npz")
    assert images.shape == (20, 48, 48, 2)
    np.testing.assert_array_equal(images[0], drawn["images"][0, :48, :48, [2, 0]].transpose(1, 2, 0))
    np.testing.assert_array_equal(masks[0], drawn["masks"][0, :48, :48] == 0)
    assert (masks[3, 16:] == IGNORE).all()


def test_scenes_of_the_users_own_have_no_fresh_ones(scenes: Path) -> None:
    for fresh_scenes, changes in (
        (ELSEWHERE, {}),
        (scenes / "fresh.npz", {"masks": "labels"}),
        (scenes / "fresh.npz", {"images": "photographs"}),
    ):
        numbers, images, masks = fresh_tiles(fresh_scenes, data_in(scenes, **changes), NORMALIZE)
        assert (numbers.shape, images.shape, masks.shape) == ((0,), (0, 32, 32, 3), (0, 32, 32))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize("harm", [Path.unlink, cut_short, lambda path: path.write_bytes(b"")])
def test_a_lost_or_broken_file_is_named(tmp_path: Path, scenes: Path, harm: Callable[[Path], None]) -> None:
    path = tmp_path / "fresh.npz"
    path.write_bytes((scenes / "fresh.npz").read_bytes())
    harm(path)
    with pytest.raises(InputError, match=r"fresh\.npz: its fresh scenes cannot be read .*; run demo again"):
        fresh_tiles(path, data_in(tmp_path), NORMALIZE)
