"""Every format gives its exact pixels, and every broken or hostile file an error that names it."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from fieldgap.base.errors import InputError
from fieldgap.data.images import decode, decode_mask, read_file, read_footprint
from fieldgap.data.raster import Raster

LIMIT = 1_000_000
RANDOM = np.random.default_rng(0)


def read(path: Path, bands: tuple[int, ...] | None = (1, 2, 3), limit: int = LIMIT) -> np.ndarray:
    return decode(read_file(path), path, limit, bands).pixels


def save_tiff(path: Path, bands: np.ndarray, **profile: object) -> Path:
    """Write bands (B, H, W) as a GeoTIFF in UTM zone 15 N, 2 m per pixel."""
    shape = {"count": bands.shape[0], "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype}
    where = {"crs": "EPSG:32615", "transform": from_origin(500_000, 4_500_000, 2, 2)}
    with rasterio.open(path, "w", **{"driver": "GTiff", **shape, **where, **profile}) as file:
        file.write(bands)
    return path


def drawn(bands: int, kind: type = np.uint8) -> np.ndarray:
    """Return (20, 30, bands) of random levels over the whole range of the type."""
    return RANDOM.integers(0, np.iinfo(kind).max, (20, 30, bands), kind, endpoint=True)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("bands", [1, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".TIF"])
def test_formats_give_exact_pixels(tmp_path: Path, suffix: str, bands: int, kind: type) -> None:
    pixels, path = drawn(bands, kind), tmp_path / f"a{suffix}"
    if suffix == ".png":
        order = [2, 1, 0, 3][:bands] if bands > 1 else [0]
        cv2.imwrite(str(path), pixels[:, :, order])
    else:
        save_tiff(path, np.moveaxis(pixels, 2, 0))
    found = read(path, None)
    assert found.dtype == kind
    assert np.array_equal(found, pixels)


def test_images_are_red_green_blue(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (250, 10, 90)).save(tmp_path / "a.jpg", quality=100)
    assert np.abs(read(tmp_path / "a.jpg").astype(int) - (250, 10, 90)).max() < 4


def test_a_grey_image_stands_for_each_band_and_a_band_may_be_chosen(tmp_path: Path) -> None:
    grey, five = drawn(1), drawn(5, np.uint16)
    cv2.imwrite(str(tmp_path / "g.png"), grey)
    assert np.array_equal(read(tmp_path / "g.png"), np.repeat(grey, 3, 2))
    save_tiff(tmp_path / "five.tif", np.moveaxis(five, 2, 0))
    assert np.array_equal(read(tmp_path / "five.tif", (5, 1)), five[:, :, [4, 0]])
    with pytest.raises(InputError, match=r"five\.tif: has 5 bands, no band 6; set data\.bands"):
        read(tmp_path / "five.tif", (6,))


def test_contents_count_and_not_the_suffix(tmp_path: Path) -> None:
    """Real data sets contain JPEG bytes under .png names."""
    (tmp_path / "a.png").write_bytes(cv2.imencode(".jpg", np.full((8, 8, 3), 90, np.uint8))[1].tobytes())
    assert read(tmp_path / "a.png").shape == (8, 8, 3)


def test_rotation_in_exif_is_ignored(tmp_path: Path) -> None:
    image = Image.new("RGB", (30, 20), (9, 9, 9))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read(tmp_path / "a.jpg").shape == (20, 30, 3)


def test_transparent_pixels_and_no_data_are_not_valid(tmp_path: Path) -> None:
    pixels = drawn(4)
    pixels[:, :, 3] = 255
    pixels[3:5, :, 3] = 0
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    valid = decode(read_file(tmp_path / "a.png"), tmp_path / "a.png", LIMIT, (1, 2, 3)).valid
    assert valid is not None
    assert np.flatnonzero(~valid.any(1)).tolist() == [3, 4]
    assert decode(read_file(tmp_path / "a.png"), tmp_path / "a.png", LIMIT, (4, 1)).valid is None

    bands = np.full((3, 20, 30), 7, np.uint8)
    bands[:, :, :2] = 0
    path = save_tiff(tmp_path / "border.tif", bands, nodata=0)
    raster = decode(read_file(path), path, LIMIT, (1, 2, 3))
    assert raster.valid is not None
    assert np.flatnonzero(~raster.valid.all(0)).tolist() == [0, 1]


@pytest.mark.parametrize(("driver", "suffix", "world"), [("GTiff", "tif", "tfw"), ("JP2OpenJPEG", "jp2", "j2w")])
def test_a_side_car_file_changes_nothing(driver: str, suffix: str, world: str, tmp_path: Path) -> None:
    path = save_tiff(tmp_path / f"a.{suffix}", np.moveaxis(drawn(3), 2, 0), driver=driver)
    before = decode(read_file(path), path, LIMIT, (1, 2, 3))
    assert before.footprint
    assert before.footprint == read_footprint(path, LIMIT)
    (tmp_path / f"a.{suffix}.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><NoDataValue>1</NoDataValue></PAMRasterBand></PAMDataset>'
    )
    (tmp_path / f"a.{world}").write_text("1\n0\n0\n-1\n7\n7\n")
    after = decode(read_file(path), path, LIMIT, (1, 2, 3))
    assert (after.valid, after.footprint) == (before.valid, before.footprint)


def test_a_footprint_is_read_from_the_header(tmp_path: Path) -> None:
    path = save_tiff(tmp_path / "a.tif", np.zeros((1, 20, 30), np.uint8))
    found = read_footprint(path, LIMIT)
    assert found
    assert (found.crs, found.west, found.south, found.east, found.north) == (
        "EPSG:32615",
        500_000,
        4_500_000 - 40,
        500_060,
        4_500_000,
    )
    cv2.imwrite(str(tmp_path / "b.png"), drawn(3))
    assert read_footprint(tmp_path / "b.png", LIMIT) is None


def test_masks_in_grey_colour_palette_and_one_bit(tmp_path: Path) -> None:
    def mask(name: str) -> np.ndarray:
        return decode_mask(read_file(tmp_path / name), tmp_path / name, LIMIT).pixels

    farm = RANDOM.integers(0, 2, (20, 30)).astype(bool)
    Image.fromarray(farm).save(tmp_path / "bit.png")
    Image.fromarray(np.repeat(farm[:, :, None] * np.uint8(255), 3, 2)).save(tmp_path / "grey in colour.png")
    assert np.array_equal(mask("bit.png")[:, :, 0], farm * 255)
    assert np.array_equal(mask("grey in colour.png"), mask("bit.png"))
    save_tiff(tmp_path / "bit.tif", farm[None].astype(np.uint8), nbits=1)
    assert np.array_equal(mask("bit.tif")[:, :, 0], farm)

    colours = np.where(farm[:, :, None], (0, 255, 0, 255), (9, 0, 0, 0)).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "rgba.png")
    assert np.array_equal(mask("rgba.png"), colours[:, :, :3])

    indexed = Image.fromarray(farm.astype(np.uint8) * 5, "P")
    indexed.putpalette([0, 0, 0] * 5 + [128, 0, 0])
    indexed.save(tmp_path / "indexed.png")
    assert np.array_equal(mask("indexed.png")[:, :, 0], farm * 5)
    indexed.putpalette([255, 255, 255] * 5 + [0, 0, 0])
    indexed.save(tmp_path / "greys.png")
    assert np.array_equal(mask("greys.png")[:, :, 0], ~farm * 255), "a palette of greys means its greys"


@pytest.mark.parametrize(
    ("kind", "bits"), [(np.uint8, 1), (np.uint8, 4), (np.uint8, 8), (np.uint16, 12), (np.uint16, 16)]
)
def test_a_tiff_whose_zeros_are_white_is_read_as_it_looks(tmp_path: Path, kind: type, bits: int) -> None:
    """Scanners and some GIS store masks like this; no data is declared in the values as they are stored."""
    white = 2**bits - 1
    stored = RANDOM.integers(0, white, (1, 20, 30), kind, endpoint=True)
    more: dict[str, object] = {} if white in (255, 65535) else {"nbits": bits}
    path = save_tiff(tmp_path / "w.tif", stored, photometric="MINISWHITE", nodata=0, **more)
    assert np.array_equal(read(path, None)[:, :, 0], white - stored[0])
    mask = decode_mask(read_file(path), path, LIMIT)
    assert np.array_equal(mask.pixels[:, :, 0], white - stored[0])
    assert mask.valid is not None
    assert np.array_equal(mask.valid, stored[0] > 0)


def test_only_the_grey_band_of_such_a_tiff_is_turned(tmp_path: Path) -> None:
    stored = np.moveaxis(drawn(2), 2, 0)
    path = save_tiff(tmp_path / "w.tif", stored, photometric="MINISWHITE", alpha="unspecified")
    assert np.array_equal(read(path, (2, 1)), np.stack([stored[1], 255 - stored[0]], 2))


def by_numpy(kind: str) -> bytes:
    stream = io.BytesIO()
    (np.save if kind == "npy" else np.savez)(stream, drawn(3))
    return stream.getvalue()


def encoded(kind: str, folder: Path) -> bytes:
    if kind == "tif":
        return save_tiff(folder / "whole.tif", np.moveaxis(drawn(3), 2, 0)).read_bytes()
    if kind.startswith("np"):
        return by_numpy(kind)
    if kind in ("gif", "jp2"):
        Image.fromarray(drawn(1)[:, :, 0]).save(folder / f"whole.{kind}")
        return (folder / f"whole.{kind}").read_bytes()
    return cv2.imencode(f".{kind}", drawn(3))[1].tobytes()


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "jp2", "bmp", "gif", "webp", "ppm", "npy", "npz"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("reader", [lambda *of: decode(*of, (1, 2, 3)), decode_mask], ids=["image", "mask"])
def test_a_truncated_file_is_named(tmp_path: Path, kind: str, share: float, reader: Callable[..., Raster]) -> None:
    data, path = encoded(kind, tmp_path), tmp_path / "cut"
    with pytest.raises(InputError, match=r"cut: (its header cannot be read|cannot be decoded)"):
        reader(data[: int(len(data) * share)], path, LIMIT)


def test_a_truncated_palette_mask_is_named(tmp_path: Path) -> None:
    image = Image.fromarray(RANDOM.integers(0, 9, (64, 64)).astype(np.uint8), "P")
    image.putpalette(list(range(27)))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    (tmp_path / "p.png").write_bytes(stream.getvalue()[:-400])
    with pytest.raises(InputError, match=r"p\.png: cannot be decoded"):
        decode_mask(read_file(tmp_path / "p.png"), tmp_path / "p.png", LIMIT)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"stem,class\na,1\n", "is not a PNG, JPEG, TIFF, JPEG 2000, BMP, GIF, WebP, PNM or NumPy file, whatever"),
        (b"\x89PNG\r\n\x1a\n", "its header cannot be read"),
        (b"<VRTDataset rasterXSize='9'><SourceFilename>/etc/passwd</SourceFilename></VRTDataset>", "is not a PNG"),
    ],
)
def test_a_file_that_is_not_an_image_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "m.png").write_bytes(data)
    with pytest.raises(InputError, match=rf"m\.png: {message}"):
        read(tmp_path / "m.png")


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    path = save_tiff(tmp_path / "f.tif", np.ones((3, 4, 4), np.complex64))
    with pytest.raises(InputError, match=r"f\.tif: has complex64 pixels; convert them"):
        read(path)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def claims(width: int, height: int) -> bytes:
    """Return a PNG whose header claims a size that its few bytes of data cannot fill."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"0"))


def test_a_second_header_does_not_pass_the_limit(tmp_path: Path) -> None:
    """OpenCV uses the first one, and Pillow, which reads palettes, the last."""
    small, large = (chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 3, 0, 0, 0)) for side in (16, 60_000))
    rest = chunk(b"PLTE", bytes([0, 0, 0, 255, 0, 0])) + chunk(b"IDAT", zlib.compress(bytes(17 * 16)))
    for headers in (small + large, large + small):
        data = b"\x89PNG\r\n\x1a\n" + headers + rest + chunk(b"IEND", b"")
        for reader in (lambda *of: decode(*of, None), decode_mask):
            with pytest.raises(InputError, match=r"x\.png: (claims 60000|cannot be decoded|its header cannot)"):
                reader(data, tmp_path / "x.png", LIMIT)


def test_a_palette_beside_a_broken_profile_is_named(tmp_path: Path) -> None:
    """Pillow reads what follows the pixels too, to find the palette."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 3, 0, 0, 0))
    pixels = chunk(b"PLTE", bytes([0, 0, 0, 255, 0, 0])) + chunk(b"IDAT", zlib.compress(bytes(17 * 16)))
    data = b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"iCCP", b"") + chunk(b"IEND", b"")
    with pytest.raises(InputError, match=r"x\.png: cannot be decoded"):
        decode_mask(data, tmp_path / "x.png", LIMIT)


def bomb_tiff(path: Path) -> None:
    """Write 900 million pixels in a few kilobytes."""
    shape = {"count": 1, "height": 30_000, "width": 30_000, "dtype": "uint8", "transform": from_origin(0, 0, 2, 2)}
    with rasterio.open(path, "w", driver="GTiff", sparse_ok=True, compress="deflate", **shape):
        pass


HUNGRY = """
import resource, sys
from pathlib import Path
from fieldgap.base.errors import InputError
from fieldgap.data.images import decode, decode_mask, read_file
import rasterio
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in map(Path, sys.argv[1:]):
    for read in (lambda data: decode(data, path, 2**26, (1, 2, 3)), lambda data: decode_mask(data, path, 2**26)):
        try:
            read(read_file(path))
        except InputError as error:
            print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) // 1024)
"""


def jpeg_2000(**options: bool) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((240, 250), np.uint8)).save(stream, "JPEG2000", **options)
    return stream.getvalue()


def zipped(shape: tuple[int, ...], size: int) -> bytes:
    """Return an .npz file of an array that claims a shape and holds zeros."""
    header = io.BytesIO()
    np.lib.format.write_array_header_2_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        member.write(header.getvalue())
        for _ in range(size // 2**20):
            member.write(bytes(2**20))
    return stream.getvalue()


def test_headers_of_other_formats_that_lie_take_no_memory(tmp_path: Path) -> None:
    """The first ones claim too much, and the others less than the limit, but more than they hold."""
    palette = struct.pack("<IHHIIIIII", 40, 1, 8, 0, 0, 0, 0, 0, 0)
    bmp = [b"BM" + struct.pack("<IHHIIii", 0, 0, 0, 54, 40, side, side) + palette[4:] for side in (60_000, 8_000)]
    gif = [
        b"GIF89a"
        + struct.pack("<HHBBB", side, side, 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", 0, 0, side, side, 0)
        + b"\x08\x01\x00;"
        for side in (60_000, 8_000)
    ]
    whole = bytearray(encoded("webp", tmp_path))
    chunk = b"VP8X" + struct.pack("<IB3xHBHB", 10, 0, 16382, 0, 16382, 0)
    webp = b"RIFF" + struct.pack("<I", len(whole) + 10) + b"WEBP" + chunk + bytes(whole[12:])
    files = {
        "a.bmp": bmp[0],
        "a.gif": gif[0],
        "a.webp": webp,
        "a.pgm": b"P5 60000 60000 255 ",
        "a.npz": zipped((60_000, 60_000), 0),
        "b.npz": zipped((8_000, 8_000, 40), 0),
        "c.bmp": bmp[1],
        "c.gif": gif[1],
        "c.pgm": b"P5 8000 8000 255 ",
        "d.pgm": b"P2 8000 8000 255 1",
        "c.npz": zipped((8_000, 8_000), 0),
        "d.npz": zipped((8, 8), 2**30),
        "e.npz": zipped((2**70, 2**70), 0),
    }
    tiny = bytearray(jpeg_2000(no_jp2=True))
    tiny[8:16] = struct.pack(">II", 250, 240)
    tiny[24:32] = struct.pack(">II", 1, 1)  # 60,000 tiles, for each of which the decoder takes memory.
    files |= {"f.j2k": bytes(tiny), "f.jp2": jpeg_2000().replace(jpeg_2000(no_jp2=True), bytes(tiny))}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / name) for name in files if name != "d.npz"]
    done = subprocess.run([sys.executable, "-c", HUNGRY, *paths], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2 * len(paths) + 1, "each is refused, as an image and as a mask"
    assert all("claims" in line for line in lines[:12])
    assert int(lines[-1]) < 300, "MiB above what the imports take"
    assert read(tmp_path / "d.npz").shape == (8, 8, 3), "what follows an array is not unpacked"


def test_lying_headers_and_bombs_take_no_memory(tmp_path: Path) -> None:
    """Sizes above the limit are refused by the header; one just below it costs no memory that is not filled."""
    (tmp_path / "bomb.png").write_bytes(claims(60_000, 60_000))
    (tmp_path / "liar.png").write_bytes(claims(8_000, 8_000))
    bomb_tiff(tmp_path / "bomb.tif")
    data = bytearray(encoded("png", tmp_path))
    data[33:37] = b"\xd0\0\0\0"  # The length of the first chunk of pixels: 3.5 GB.
    (tmp_path / "chunk.png").write_bytes(data)
    paths = [str(tmp_path / name) for name in ("bomb.png", "bomb.tif", "liar.png", "chunk.png")]
    done = subprocess.run([sys.executable, "-c", HUNGRY, *paths], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    faults = [("claims" in line, "cannot be decoded" in line) for line in lines[:-1]]
    assert faults == [(True, False)] * 4 + [(False, True)] * 4
    assert int(lines[-1]) < 300, "MiB above what the imports take"


def test_a_missing_and_an_unreadable_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.png: cannot be read \(No such file"):
        read(tmp_path / "none.png")
    cv2.imwrite(str(tmp_path / "a.png"), drawn(3))
    (tmp_path / "a.png").chmod(0)
    tmp_path.chmod(0o755)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from fieldgap.data.images import read_file; from fieldgap.base.errors import InputError\n"
        "os.seteuid(65534) if os.geteuid() == 0 else None\n"
        "try: read_file(Path(sys.argv[1]))\nexcept InputError as error: print(error)"
    )
    for folder in tmp_path.parents:
        if os.geteuid() == 0 and folder != Path("/") and not folder.stat().st_mode & 1:
            folder.chmod(folder.stat().st_mode | 1)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.png")], capture_output=True, text=True, check=True
    )
    assert "a.png: cannot be read (Permission denied); fix its permissions" in done.stdout
