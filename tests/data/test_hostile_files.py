"""Whatever bytes a file contains, reading it gives pixels or one InputError, and a refusing stage writes nothing."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pytest
from conftest import ELSEWHERE, NORMALIZE, SPLIT, data_in, pair
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from styles import save, save_tiff

from fieldgap.base.errors import InputError
from fieldgap.data import normalize, split
from fieldgap.data.images import decode, decode_mask
from fieldgap.data.masks import classify, make_table, tally
from fieldgap.data.whole import NO_VALUE

LIMIT = 100_000
TABLE = make_table({"background": ("0",), "farmland": ("255",)}, (), tolerance=127)
PATH = Path("x.png")


def good_files() -> list[bytes]:
    """Return one file of each kind: formats, depths, bands, palettes, compressions, tiles."""
    rng = np.random.default_rng(0)
    files = [
        cv2.imencode(f".{kind}", rng.integers(0, 255, (24, 20, bands), np.uint8))[1].tobytes()
        for kind, bands in (("png", 1), ("png", 3), ("png", 4), ("jpg", 1), ("jpg", 3))
    ]
    files.append(cv2.imencode(".png", rng.integers(0, 65535, (24, 20, 3), np.uint16))[1].tobytes())
    profiles: list[dict[str, object]] = [{}, {"compress": "lzw"}, {"compress": "deflate", "predictor": 2}]
    profiles += [{"tiled": True, "blockxsize": 16, "blockysize": 16, "nodata": 0}, {"BIGTIFF": "YES"}]
    with TemporaryDirectory() as folder:
        indexed = Image.fromarray(rng.integers(0, 3, (24, 20)).astype(np.uint8), "P")
        indexed.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        indexed.save(Path(folder) / "p.png")
        indexed.save(Path(folder) / "p.gif")
        indexed.save(Path(folder) / "p.bmp")
        for i, profile in enumerate(profiles):
            save_tiff(Path(folder) / f"{i}.tif", rng.integers(0, 255, (24, 20, 3), np.uint8), i, **profile)
        for i, kind in enumerate((np.float32, np.int16, np.int32)):
            save_tiff(Path(folder) / f"w{i}.tif", rng.integers(0, 9, (24, 20, 1)).astype(kind), i, nodata=3)
        return files + others(rng) + [path.read_bytes() for path in sorted(Path(folder).iterdir())]


def others(rng: np.random.Generator) -> list[bytes]:
    """Return files of the other formats."""
    colour, grey = rng.integers(0, 255, (24, 20, 3), np.uint8), rng.integers(0, 255, (24, 20), np.uint8)
    drawn: list[tuple[np.ndarray, str, dict[str, bool]]] = [
        (colour, "WEBP", {"lossless": True}),
        (np.dstack([colour, grey]), "WEBP", {}),
        (colour, "BMP", {}),
        (grey > 90, "BMP", {}),
        (colour, "JPEG2000", {}),
        (grey, "JPEG2000", {"no_jp2": True}),
        (colour, "PPM", {}),
        (grey > 90, "PPM", {}),
    ]
    files = []
    for pixels, kind, options in drawn:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind, **options)
        files.append(stream.getvalue())
    files.append(b"P2\n# text\n20 24\n255\n" + b" ".join(b"%d" % value for value in grey.ravel()))
    files.append(b"P1 20 24\n" + b" ".join(b"%d" % (value > 90) for value in grey.ravel()))
    for write, array in (
        (np.save, colour),
        (np.save, grey.astype(">f4")),
        (np.savez_compressed, grey.astype(np.int64)),
    ):
        stream = io.BytesIO()
        write(stream, array)
        files.append(stream.getvalue())
    return files


GOOD = good_files()
DEEP_COLOURS = 5  # Colours of 16 bits are no labels.


def read_both(data: bytes) -> None:
    """Read bytes as an image and as a mask; the only error may be InputError."""
    try:
        raster = decode(data, PATH, LIMIT, (1, 2, 3))
        assert raster.pixels.ndim == 3
        assert raster.pixels.shape[0] * raster.pixels.shape[1] <= LIMIT
    except InputError:
        pass
    try:
        mask = decode_mask(data, PATH, LIMIT)
        assert sum(tally(mask.pixels).values()) + (mask.pixels == NO_VALUE).sum() == mask.pixels[:, :, 0].size
        classify(mask.pixels, mask.valid, TABLE, PATH)
    except InputError:
        pass


def test_the_good_files_are_good() -> None:
    for index, data in enumerate(GOOD):
        assert decode(data, PATH, LIMIT, None).pixels.shape[:2] == (24, 20)
        if index != DEEP_COLOURS:
            assert decode_mask(data, PATH, LIMIT).pixels.shape[:2] == (24, 20)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a good file with bytes changed, removed, repeated or inserted, more often near its start."""
    data = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, min(len(data) - 1, draw(st.sampled_from([16, 64, 400, 10_000])))))
        how = draw(st.sampled_from(["set", "cut", "repeat", "insert"]))
        if how == "set":
            data[at] = draw(st.integers(0, 255))
        elif how == "cut":
            del data[at : at + draw(st.integers(1, 64))]
        elif how == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, 64))]
        else:
            data[at:at] = draw(st.binary(min_size=1, max_size=16))
        if not data:
            break
    return bytes(data)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damaged())
def test_a_damaged_file_gives_pixels_or_one_error(data: bytes) -> None:
    read_both(data)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([data[:length] for data in GOOD for length in (8, 32)]), st.binary(max_size=200))
def test_any_bytes_behind_a_good_beginning_give_one_error(beginning: bytes, rest: bytes) -> None:
    read_both(beginning + rest)


@pytest.mark.slow
def test_a_long_run_of_damage() -> None:
    """Read 60,000 damaged files in a process of its own: no decoder crashes, and memory stays bounded."""
    code = (
        "import random, resource\n"
        "import test_hostile_files as t\n"
        "base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for seed in range(60_000): t.read_both(t.mutated(random.Random(seed)))\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) // 1024)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # Includes the folders of the tests.
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 300


def mutated(rng: random.Random) -> bytes:
    data = bytearray(rng.choice(GOOD))
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(min(len(data), rng.choice([16, 64, 400, 10_000])))
        if rng.random() < 0.7:
            data[at] = rng.randrange(256)
        elif rng.random() < 0.5:
            del data[at : at + rng.randint(1, 64)]
        else:
            data[at:at] = rng.randbytes(rng.randint(1, 16))
        if not data:
            return b""
    return bytes(data)


def hostile(folder: Path, scenes: Path) -> None:
    """Copy good scenes into a folder that a test adds bad files to."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
        for path in sorted((scenes / name).iterdir()):
            (folder / name / path.name).write_bytes(path.read_bytes())


def test_names_that_are_not_files_are_all_listed_before_anything_is_read(scenes: Path, tmp_path: Path) -> None:
    hostile(tmp_path, scenes)
    images = tmp_path / "images"
    (images / "folder.png").mkdir()
    (images / "outside.png").symlink_to("/etc/hostname")
    (images / "dangling.png").symlink_to(images / "nothing.png")
    os.mkfifo(images / "pipe.png")
    (images / "bell\a.png").touch()
    (images / "wild{card}.png").touch()
    (images / "inside.png").symlink_to(images / "scene_000.png")
    with pytest.raises(InputError) as error:
        pair(images, tmp_path / "masks", "{stem}_mask.png")
    message = str(error.value)
    assert "6 of 19 names in" in message
    for name, fault in (
        ("folder.png", "is not a file"),
        ("outside.png", "is a link that leaves"),
        ("dangling.png", "is a link to a file that is gone"),
        ("pipe.png", "is not a file"),
        (r"bell\x07.png'", "unprintable character"),
        ("wild{card}.png", "contains a brace"),
    ):
        assert any(name in line and fault in line for line in message.splitlines()), name


def test_every_broken_file_is_in_one_error_and_nothing_is_left(scenes: Path, tmp_path: Path) -> None:
    hostile(tmp_path, scenes)
    split.run(data_in(tmp_path), tmp_path / "split.csv", SPLIT)
    (tmp_path / "images/scene_000.png").write_bytes(b"")
    (tmp_path / "images/scene_001.png").write_bytes((tmp_path / "images/scene_001.png").read_bytes()[:-900])
    (tmp_path / "masks/scene_002_mask.png").write_text("0,0,1\n")
    save(tmp_path / "images/scene_003.png", np.zeros((1200, 900, 3), np.uint8))
    (tmp_path / "masks/scene_004_mask.png").write_bytes(GOOD[1])
    with pytest.raises(InputError) as error:
        normalize.run(data_in(tmp_path), tmp_path / "split.csv", ELSEWHERE, tmp_path / "tiles", NORMALIZE)
    message = str(error.value)
    assert "5 of 12 scenes cannot be used" in message
    for name, fault in (
        ("scene_000.png", "is empty"),
        ("scene_001.png", "cannot be decoded"),
        ("scene_002_mask.png", "is not a PNG, JPEG, TIFF"),
        ("scene_003.png", "claims 900 x 1200 px, more than data.max_pixels (1000000)"),
        ("scene_004_mask.png", "has colours"),
    ):
        assert any(name in line and fault in line for line in message.splitlines()), name
    assert not list((tmp_path / "tiles").iterdir())
