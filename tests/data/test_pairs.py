from __future__ import annotations

from pathlib import Path

import pytest
from conftest import PATTERN, pair

from fieldgap.base.errors import InputError
from fieldgap.base.names import dvc_cache


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_stems_may_hold_dots_and_suffixes_may_be_upper_case(tmp_path: Path) -> None:
    images = touch(tmp_path / "images", "40.1--90.2.png", "b.PNG", "notes.txt", "a.jpg.aux.xml")
    masks = touch(tmp_path / "masks", "40.1--90.2_mask.png", "b_mask.png")
    assert pair(images, masks, PATTERN) == {
        "40.1--90.2": (images / "40.1--90.2.png", masks / "40.1--90.2_mask.png"),
        "b": (images / "b.PNG", masks / "b_mask.png"),
    }


def test_images_and_masks_may_share_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a.png", "a_mask.png", "b_mask.png")
    assert list(pair(tmp_path, tmp_path, PATTERN)) == ["a", "b"]


def test_every_image_without_a_mask_is_listed(tmp_path: Path) -> None:
    images, masks = touch(tmp_path / "i", "a.png", "b.png", "c.png"), touch(tmp_path / "m", "b_mask.png")
    with pytest.raises(InputError, match=r"2 of 3 images have no mask.*a\.png.*c\.png.*data\.mask_pattern"):
        pair(images, masks, PATTERN)


def test_images_without_a_mask_may_be_left_out(tmp_path: Path) -> None:
    images, masks = touch(tmp_path / "i", "a.png", "b.png", "c.png"), touch(tmp_path / "m", "b_mask.png")
    assert list(pair(images, masks, PATTERN, "skip")) == ["b"]
    with pytest.raises(InputError, match=r"3 of 3 images have no mask.*(a\.png.*){3}"):
        pair(images, masks, "{stem}_a.png", "skip")


def test_a_missing_folder_and_an_empty_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such folder; set data\.images"):
        pair(tmp_path / "nowhere", tmp_path, PATTERN)
    with pytest.raises(InputError, match="contains no image files"):
        pair(tmp_path, tmp_path, PATTERN)


def test_two_images_of_one_stem_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "a.jpg", "a_mask.png")
    with pytest.raises(InputError, match=r"a\.png: shares its stem with a\.jpg"):
        pair(tmp_path, tmp_path, PATTERN)


def test_links_into_the_cache_of_dvc_are_followed_and_those_to_the_rest_of_it_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images, masks = touch(tmp_path / "images"), touch(tmp_path / "masks", "a_mask.png")
    for place in ("", "[cache]\n  dir = ../mine # on a larger disk\n", f"[cache]\n  dir = '{tmp_path}/far'\n"):
        touch(tmp_path / ".dvc").joinpath("config").write_text(place)
        cache = dvc_cache()
        blob = cache / "d4/1d8cd98f00b204e9800998ecf8427e"
        blob.parent.mkdir(parents=True)
        (images / "a.png").unlink(missing_ok=True)
        (images / "a.png").symlink_to(blob.absolute())
        with pytest.raises(InputError, match=r"a\.png: is a link to a file that is gone"):
            pair(images, masks, PATTERN)
        blob.touch()
        assert list(pair(images, masks, PATTERN)) == ["a"]
    assert cache == tmp_path / "far/files/md5"
    (images / "a.png").unlink()
    (images / "a.png").symlink_to(touch(tmp_path / ".dvc/tmp", "lock") / "lock")
    with pytest.raises(InputError, match=r"a\.png: is a link that leaves"):
        pair(images, masks, PATTERN)


@pytest.mark.parametrize(("place", "cache"), [("~/shared", "home/shared"), ("cache", "config/dvc/cache")])
def test_the_cache_is_where_the_users_own_configuration_of_dvc_says(
    place: str, cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    touch(touch(tmp_path / "config") / "dvc").joinpath("config").write_text(f"[cache]\ndir = {place}\n")
    assert dvc_cache() == tmp_path / cache / "files/md5"
