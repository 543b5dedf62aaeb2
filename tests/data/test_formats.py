"""Every format is read exactly: each row of docs/data-sets.md on formats, on files that are drawn here."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import ROOT, data_in, pair
from PIL import Image
from rasterio.transform import from_origin

from fieldgap.base.errors import InputError
from fieldgap.data.images import decode, decode_mask, read_file
from fieldgap.data.masks import table_of
from fieldgap.data.pairs import SUFFIXES
from fieldgap.data.raster import Raster
from fieldgap.data.reading import read_scene

LIMIT = 1_000_000
RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (20, 30, 3), np.uint8)
GREY = RANDOM.integers(0, 256, (20, 30), np.uint8)
CODES = RANDOM.integers(0, 5, (20, 30), np.uint8)
BITS = CODES > 2
DEEP = RANDOM.integers(0, 65536, (20, 30), np.uint16)
PLACED: dict[str, Any] = {"crs": "EPSG:32615", "transform": from_origin(500_000, 4_500_000, 2, 2)}


def by_pillow(kind: str, pixels: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def with_palette(kind: str, positions: np.ndarray, palette: list[int], **options: Any) -> bytes:
    image = Image.fromarray(positions, "P")
    image.putpalette(palette)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def by_gdal(folder: Path, driver: str, pixels: np.ndarray, **options: Any) -> bytes:
    bands = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    shape = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype}
    with rasterio.open(folder / "drawn", "w", driver=driver, **{**PLACED, **shape, **options}) as file:
        file.write(bands)
    return (folder / "drawn").read_bytes()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def image(data: bytes, bands: tuple[int, ...] | None = None) -> Raster:
    return decode(data, Path("x"), LIMIT, bands)


def mask(data: bytes) -> Raster:
    return decode_mask(data, Path("x"), LIMIT)


PALETTE = [0, 0, 0, 250, 0, 0, 0, 250, 0, 0, 0, 250, 9, 9, 250]
LOSSLESS = {"QUALITY": "100", "REVERSIBLE": "YES"}
PLAIN_PPM = b"P3\n# drawn\n30 20\n255\n" + b" ".join(b"%d" % value for value in COLOUR.ravel())
IMAGES: dict[str, tuple[str, Callable[[Path], bytes], np.ndarray]] = {
    "PNG": (".png", lambda _: by_pillow("PNG", COLOUR), COLOUR),
    "GeoTIFF": (".tif", lambda folder: by_gdal(folder, "GTiff", COLOUR), COLOUR),
    "JPEG 2000": (".jp2", lambda folder: by_gdal(folder, "JP2OpenJPEG", COLOUR, **LOSSLESS), COLOUR),
    "JPEG 2000, 16 bits": (".jp2", lambda folder: by_gdal(folder, "JP2OpenJPEG", DEEP, **LOSSLESS), DEEP[:, :, None]),
    "JPEG 2000 codestream": (".j2k", lambda _: by_pillow("JPEG2000", GREY, no_jp2=True), GREY[:, :, None]),
    "WebP": (".webp", lambda _: by_pillow("WEBP", COLOUR, lossless=True), COLOUR),
    "BMP": (".bmp", lambda _: by_pillow("BMP", COLOUR), COLOUR),
    "BMP, grey": (".bmp", lambda _: by_pillow("BMP", GREY), GREY[:, :, None]),
    "BMP, 1 bit": (".bmp", lambda _: by_pillow("BMP", BITS), BITS[:, :, None] * np.uint8(255)),
    "GIF": (
        ".gif",
        lambda _: with_palette("GIF", CODES, PALETTE, optimize=False),
        np.array(PALETTE, np.uint8).reshape(-1, 3)[CODES],
    ),
    "PPM": (".ppm", lambda _: by_pillow("PPM", COLOUR), COLOUR),
    "PPM in ASCII": (".ppm", lambda _: PLAIN_PPM, COLOUR),
    "PGM": (".pgm", lambda _: by_pillow("PPM", GREY), GREY[:, :, None]),
    "PGM, 16 bits": (".pgm", lambda _: b"P5 30 20 65535\n" + DEEP.astype(">u2").tobytes(), DEEP[:, :, None]),
    "PBM": (".pbm", lambda _: by_pillow("PPM", BITS), BITS[:, :, None] * np.uint8(255)),
    "NumPy array, height x width x bands": (".npy", lambda _: npy(COLOUR), COLOUR),
    "NumPy array, bands x height x width": (".npy", lambda _: npy(np.moveaxis(COLOUR, 2, 0)), COLOUR),
    "NumPy archive with one array": (".npz", lambda _: npz(anything=COLOUR), COLOUR),
    "NumPy archive with image and mask": (".npz", lambda _: npz(image=COLOUR, mask=CODES), COLOUR),
}
MASKS: dict[str, tuple[str, Callable[[Path], bytes], np.ndarray]] = {
    "PNG, 8 or 16 bits": (".png", lambda _: by_pillow("PNG", DEEP), DEEP),
    "PNG, 1 bit": (".png", lambda _: by_pillow("PNG", BITS), BITS * 255),
    "PNG, palette": (".png", lambda _: with_palette("PNG", CODES, PALETTE), CODES),
    "GIF, palette": (".gif", lambda _: with_palette("GIF", CODES, PALETTE, optimize=False), CODES),
    "BMP, palette": (".bmp", lambda _: with_palette("BMP", CODES, PALETTE), CODES),
    "BMP, 1 bit": (".bmp", lambda _: by_pillow("BMP", BITS), BITS * 255),
    "WebP": (".webp", lambda _: by_pillow("WEBP", np.dstack([CODES] * 3), lossless=True), CODES),
    "JPEG 2000": (".jp2", lambda folder: by_gdal(folder, "JP2OpenJPEG", CODES, **LOSSLESS), CODES),
    "PGM with a highest value of 4": (".pgm", lambda _: b"P5\n30 20\n4\n" + CODES.tobytes(), CODES),
    "PGM in ASCII": (".pgm", lambda _: b"P2 30 20 4 " + b"\n".join(b"%d" % code for code in CODES.ravel()), CODES),
    "PBM": (".pbm", lambda _: by_pillow("PPM", BITS), BITS * 255),
    "PBM in ASCII": (".pbm", lambda _: b"P1 30 20\n" + bytes(49 - bit for bit in BITS.ravel().tolist()), BITS * 255),
    "NumPy array": (".npy", lambda _: npy(CODES.astype(np.int64)), CODES),
    "NumPy array of truth values": (".npy", lambda _: npy(BITS), BITS),
    "NumPy archive with image and mask": (".npz", lambda _: npz(image=COLOUR, mask=CODES), CODES),
    **{
        f"GeoTIFF, {kind}": (".tif", lambda folder, kind=kind: by_gdal(folder, "GTiff", CODES.astype(kind)), CODES)
        for kind in ("int8", "int16", "int32", "uint32", "int64", "float32", "float64")
    },
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_are_read_exactly(name: str, tmp_path: Path) -> None:
    _, draw, expected = IMAGES[name]
    found = image(draw(tmp_path)).pixels
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("name", MASKS)
def test_masks_are_read_exactly(name: str, tmp_path: Path) -> None:
    _, draw, expected = MASKS[name]
    assert np.array_equal(mask(draw(tmp_path)).pixels[:, :, 0], expected)


@pytest.mark.parametrize(("title", "rows"), [("Images", IMAGES), ("Masks", MASKS)])
def test_the_page_on_data_sets_lists_them(title: str, rows: dict[str, tuple[str, Any, Any]]) -> None:
    page = (ROOT / "docs/data-sets.md").read_text()
    section = page.split(f"### {title}\n")[1].split("\n### ")[0].split("\n## ")[0]
    listed = re.findall(r"^\| ([^|]+?) +\| `(\.\w+)` ", section, re.MULTILINE)
    assert listed == [(name, suffix) for name, (suffix, _, _) in rows.items()]


def test_each_suffix_is_paired(tmp_path: Path) -> None:
    suffixes = {suffix for suffix, _, _ in (*IMAGES.values(), *MASKS.values())}
    assert suffixes <= set(SUFFIXES)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for suffix in suffixes:
            (tmp_path / folder / f"of{suffix[1:]}{suffix}").touch()
    for suffix in suffixes:
        scenes = {f"of{suffix[1:]}{suffix}"}
        for path in [path for path in (tmp_path / "images").iterdir() if path.name not in scenes]:
            path.rename(tmp_path / path.name)
        assert list(pair(tmp_path / "images", tmp_path / "masks", f"{{stem}}{suffix}")) == [f"of{suffix[1:]}"]
        for path in tmp_path.glob("of*"):
            path.rename(tmp_path / "images" / path.name)


def test_an_archive_may_hold_image_and_mask_of_its_scene(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.npz").write_bytes(npz(image=COLOUR, mask=CODES))
    scenes = pair(tmp_path, tmp_path, "{stem}.npz")
    assert scenes == {name: (tmp_path / f"{name}.npz",) * 2 for name in "ab"}
    data = data_in(tmp_path, foreground=("1", "2", "3", "4"))
    scene = read_scene(*scenes["a"], data, table_of(data))
    assert np.array_equal(scene.image.pixels, COLOUR)
    assert np.array_equal(scene.classes, CODES > 0)


def test_an_animation_is_refused() -> None:
    frames = [Image.fromarray(CODES * shade, "L") for shade in (10, 20)]
    for kind in ("GIF", "WEBP"):
        stream = io.BytesIO()
        frames[0].save(stream, kind, save_all=True, append_images=frames[1:])
        for read in (image, mask):
            with pytest.raises(InputError, match="x: holds several frames; save the one that counts"):
                read(stream.getvalue())


def test_transparent_pixels_have_no_data() -> None:
    clear = image(with_palette("GIF", CODES, PALETTE, transparency=3, optimize=False), (1, 2, 3)).valid
    assert clear is not None
    assert np.array_equal(clear, CODES != 3)
    alpha = np.dstack([COLOUR, np.where(BITS, 255, 0).astype(np.uint8)])
    valid = image(by_pillow("WEBP", alpha, lossless=True, exact=True), (1, 2, 3)).valid
    assert valid is not None
    assert np.array_equal(valid, BITS)


@pytest.mark.parametrize("kind", ["<i2", "<i4", "<u4", "<f4", "<f8", ">f4", ">i2", "<f2", "<i8", "<u8", "i1"])
def test_wide_images_keep_their_values(kind: str) -> None:
    values = (DEEP.astype(np.float64) - 30_000).round() / (8 if "f" in kind else 1)
    values = (np.clip(values, 0, 100) if kind[1] in "u1" or kind == "<f2" else values).astype(kind)
    found = image(npy(values)).pixels[:, :, 0]
    assert found.dtype.name in ("int16", "int32", "uint32", "float32", "float64")
    assert np.array_equal(found, values)


def test_pixels_that_are_no_numbers_have_no_data(tmp_path: Path) -> None:
    values = np.repeat(DEEP[:, :, None], 3, 2).astype(np.float32)
    values[2, 3, 1], values[4, 5, 0], values[6, 7] = np.nan, np.inf, -9999
    raster = image(by_gdal(tmp_path, "GTiff", values, nodata=-9999))
    assert raster.valid is not None
    assert np.argwhere(~raster.valid).tolist() == [[2, 3], [4, 5], [6, 7]]
    assert np.isfinite(raster.pixels).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((8, 8, 8)), r"has the shape \(8, 8, 8\), which does not say which axis counts bands; store height"),
        (np.zeros((3, 64, 4)), r"has the shape \(3, 64, 4\), which does not say which axis"),
        (np.zeros((2, 9, 9, 3)), r"has the shape \(2, 9, 9, 3\); store height x width, .*one scene per file"),
        (np.zeros(9), r"has the shape \(9,\); store"),
        (np.zeros((0, 9)), r"has the shape \(0, 9\); store"),
        (np.zeros((9, 9), complex), "has complex128 pixels"),
        (np.zeros((9, 9), object), "cannot be decoded"),
        (np.zeros((9, 9), [("a", "u1")]), "cannot be decoded"),
        (np.zeros((9, 9), "U3"), "cannot be decoded"),
        (np.zeros((1200, 1000), np.uint8), r"claims 1000 x 1200 px, more than data\.max_pixels"),
        (np.zeros((1000, 1000, 5), np.float64), r"claims 1000 x 1000 px of 40 bytes, more than data\.max_pixels"),
    ],
)
def test_arrays_that_are_no_scene_are_named(array: np.ndarray, message: str) -> None:
    for data in (npy(array), npz(image=array)):
        with pytest.raises(InputError, match=f"x: {message}"):
            image(data)


def test_archives_without_a_clear_array_are_named() -> None:
    with pytest.raises(InputError, match=r"x: holds 2 arrays \(a, b\); store one, or name it mask"):
        mask(npz(a=CODES, b=CODES))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("notes.txt", "none")
    with pytest.raises(InputError, match=r"x: holds 0 arrays \(none\); store one, or name it image"):
        image(stream.getvalue())


def test_values_are_not_stretched_and_lies_about_them_are_named() -> None:
    with pytest.raises(InputError, match="holds values above its highest one"):
        mask(b"P5 30 20 3\n" + CODES.tobytes())
    with pytest.raises(InputError, match="cannot be decoded"):
        mask(b"P2 30 20 4 1 2 three")
    with pytest.raises(InputError, match="x: claims 9000 x 9000 px"):
        mask(b"P4 9000 9000\n\0")


def test_a_palette_of_an_image_is_its_colours(tmp_path: Path) -> None:
    colours = {value: (*PALETTE[3 * value : 3 * value + 3], 255) for value in range(5)}
    with rasterio.open(
        tmp_path / "p.tif", "w", driver="GTiff", count=1, height=20, width=30, dtype="uint8", **PLACED
    ) as file:
        file.write(CODES, 1)
        file.write_colormap(1, colours)
    data = read_file(tmp_path / "p.tif")
    expected = np.array(PALETTE, np.uint8).reshape(-1, 3)[CODES]
    assert np.array_equal(image(data, (3, 1)).pixels, expected[:, :, [2, 0]])
    assert np.array_equal(mask(data).pixels[:, :, 0], CODES)


def alpha_tiff(folder: Path, fourth: np.ndarray, colours: np.ndarray = COLOUR) -> bytes:
    return by_gdal(folder, "GTiff", np.dstack([colours, fourth]), photometric="RGB", alpha="YES")


def test_alpha_is_no_band_but_near_infrared_under_its_name_is(tmp_path: Path) -> None:
    """Files of NAIP often tag their fourth band as alpha."""
    cut_out = np.where(BITS, 255, 0).astype(np.uint8)
    cut_out[0, :9] = 100
    data = alpha_tiff(tmp_path, cut_out)
    assert np.array_equal(image(data).pixels, COLOUR)
    for bands in (None, (1, 2, 3)):
        valid = image(data, bands).valid
        assert valid is not None
        assert np.array_equal(valid, cut_out > 0)
    assert np.array_equal(image(data, (4,)).pixels[:, :, 0], cut_out), "it is read if it is asked for"

    infrared = GREY.copy()
    infrared[0, :9] = 0
    data = alpha_tiff(tmp_path, infrared)
    assert np.array_equal(image(data).pixels, np.dstack([COLOUR, infrared]))
    assert image(data, (1, 2, 3)).valid is None, "dark near infrared is no hole"


def test_labels_in_alpha_alone_are_named(tmp_path: Path) -> None:
    cut_out = np.where(BITS, 255, 0).astype(np.uint8)
    black = np.zeros_like(COLOUR)
    for data in (by_pillow("PNG", np.dstack([black, cut_out])), alpha_tiff(tmp_path, cut_out, black)):
        with pytest.raises(InputError, match="x: has one colour, and differs only in its transparency; save its alpha"):
            mask(data)
    opaque = by_pillow("PNG", np.dstack([black, np.full_like(cut_out, 255)]))
    assert np.array_equal(mask(opaque).pixels, black[:, :, :1]), "a mask of one class may be opaque"


def test_masks_of_several_bands_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="x: has 5 bands; a mask has one band of numbers or three of colour"):
        mask(by_gdal(tmp_path, "GTiff", np.dstack([CODES] * 5)))
    with pytest.raises(InputError, match="x: has 2 bands"):
        mask(npy(np.dstack([CODES, GREY])))
    with pytest.raises(InputError, match="x: has colours beyond 8 bits; save it with whole numbers"):
        mask(npy(np.dstack([DEEP, DEEP, DEEP // 2])))


def test_a_grey_image_with_alpha_is_grey(tmp_path: Path) -> None:
    cut_out = np.where(BITS, 255, 0).astype(np.uint8)
    data = by_gdal(tmp_path, "GTiff", np.dstack([GREY, cut_out]), alpha="YES")
    for bands, count in ((None, 1), ((1, 2, 3), 3)):
        found = image(data, bands)
        assert np.array_equal(found.pixels, np.dstack([GREY] * count))
        assert found.valid is not None
        assert np.array_equal(found.valid, BITS)
