from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from fieldgap.errors import InputError
from fieldgap.images import read_image, read_mask


def test_images_are_red_green_blue(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "red.png"), np.full((2, 3, 3), (0, 10, 255), np.uint8))
    image = read_image(tmp_path / "red.png")
    assert image.shape == (2, 3, 3)
    assert image[0, 0].tolist() == [255, 10, 0]


def test_contents_count_and_not_the_suffix(tmp_path: Path) -> None:
    """Real sets hold JPEG bytes under .png names."""
    (tmp_path / "a.png").write_bytes(cv2.imencode(".jpg", np.full((8, 8, 3), 90, np.uint8))[1].tobytes())
    assert read_image(tmp_path / "a.png").shape == (8, 8, 3)


@pytest.mark.parametrize("content", [b"", b"not an image", cv2.imencode(".png", np.eye(64))[1].tobytes()[:40]])
def test_broken_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.png").write_bytes(content)
    for read in (read_image, read_mask):
        with pytest.raises(InputError, match=r"broken\.png: is no readable image"):
            read(tmp_path / "broken.png")


@pytest.mark.parametrize("mask", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint16)])
def test_a_mask_has_one_channel_of_eight_bits(tmp_path: Path, mask: np.ndarray) -> None:
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    with pytest.raises(InputError, match=r"m\.png: is uint\d+ with shape"):
        read_mask(tmp_path / "m.png")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.png: cannot be read \(No such file"):
        read_image(tmp_path / "none.png")
