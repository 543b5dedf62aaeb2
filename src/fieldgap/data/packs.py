"""Packs of tiles as they grow, and the last ones, kept so that no scene is decoded again that has not changed.

Both engines delete a stage's outputs before they run it again. So each pack is held by a second name, which takes no
room of its own, with a line of JSON for each scene. What was remembered is not trusted: its checksums must agree.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldgap.base.errors import InputError
from fieldgap.base.files import replacing
from fieldgap.base.names import TILES
from fieldgap.data.cutting import Cut, Limits, checksum

if TYPE_CHECKING:
    from fieldgap.settings.sections import Data, Normalize

FOLDER = Path(".fieldgap/normalize")  # Seen from the project's folder, in which every stage runs.
PACKS = TILES[:2]
LIBRARIES = ("imagehash", "numpy", "opencv-python-headless", "pillow", "rasterio", "scipy")
ELSEWHERE = ("images", "masks", "mask_pattern", "leakage")  # Parameters that no scene's tiles depend on.


class Packed:
    """Appends arrays of one shape to a .npy file. Numpy pads the header so that the first axis can grow in place."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.file, self.shape, self.count = path.open("w+b"), shape, 0
        self.write_header()

    def write_header(self) -> None:
        self.file.seek(0)
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.count, *self.shape)}
        np.lib.format.write_array_header_1_0(self.file, header)

    def extend(self, arrays: np.ndarray) -> None:
        self.file.write(arrays.data)
        self.count += len(arrays)

    def __enter__(self) -> Packed:
        return self

    def __exit__(self, *error: object) -> None:
        self.write_header()
        self.file.close()


def shapes(tile: int, bands: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """-> those of a tile's image and of its classes."""
    return (tile, tile, bands), (tile, tile)


@contextmanager
def packing(out: Path, tile: int, bands: int) -> Iterator[tuple[Packed, Packed]]:
    """Yields the packs of images (N, tile, tile, bands) and masks (N, tile, tile), which appear in `out` at the end."""
    with (
        replacing(out / PACKS[0]) as image_draft,
        replacing(out / PACKS[1]) as mask_draft,
        Packed(image_draft, shapes(tile, bands)[0]) as images,
        Packed(mask_draft, shapes(tile, bands)[1]) as masks,
    ):
        yield images, masks


@dataclass(frozen=True)
class Pack:
    """A whole pack on disk: the shape of one tile, and where the first one begins, in bytes."""

    path: Path
    shape: tuple[int, ...]
    begins: int

    def read(self, first: int, count: int) -> np.ndarray:
        """-> (count, ...) tiles, read and not mapped: mapped pages would count as memory of this process."""
        size = math.prod(self.shape)
        tiles = np.fromfile(self.path, np.uint8, count * size, offset=self.begins + first * size)
        return tiles.reshape(count, *self.shape)


@dataclass(frozen=True)
class Memory:
    """The last packs, and what is known of each of their scenes by its key, the number of its first tile included."""

    scenes: Mapping[str, Mapping[str, Any]]
    packs: tuple[Pack, ...]

    def recall(self, key: str) -> Cut | None:
        """-> a scene as it was packed; None when it was not, or when its tiles are no longer what they were."""
        if not (known := self.scenes.get(key)):
            return None
        try:
            images, classes = (pack.read(known["first"], known["told"]["tiles"]) for pack in self.packs)
        except (OSError, ValueError):
            return None
        return Cut(images, classes, dict(known)) if [checksum(images), checksum(classes)] == known["check"] else None


def basis(data: Data, config: Normalize, between: Limits | None) -> bytes:
    """-> a digest of all that a scene's tiles depend on beside its two files."""
    parameters = {key: value for key, value in (asdict(data) | asdict(config)).items() if key not in ELSEWHERE}
    code = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(Path(__file__).parent.glob("*.py"))]
    parts = [parameters, between, code, {name: version(name) for name in LIBRARIES}]
    return hashlib.sha256(json.dumps(parts).encode()).digest()


def key_of(image: bytes, mask: bytes, on: bytes) -> str:
    """The bytes of a scene's two files and basis() -> 64 hexadecimal digits."""
    parts = (on, *(hashlib.sha256(each).digest() for each in (image, mask)))
    return hashlib.sha256(b"".join(parts)).hexdigest()


def load(tile: int, bands: int) -> Memory:
    """-> the last packs; an empty memory when there are none, or when their lines are not whole."""
    try:
        digest, text = (FOLDER / "scenes.jsonl").read_bytes().split(b"\n", 1)
        sizes = [(FOLDER / name).stat().st_size for name in PACKS]
    except (OSError, ValueError):
        return Memory({}, ())
    if hashlib.sha256(text).hexdigest().encode() != digest:
        return Memory({}, ())
    scenes, first = {}, 0
    for known in map(json.loads, text.splitlines()):
        scenes[known["key"]] = known | {"first": first}
        first += known["told"]["tiles"]
    packs = (
        Pack(FOLDER / name, shape, size - first * math.prod(shape))
        for name, shape, size in zip(PACKS, shapes(tile, bands), sizes, strict=True)
    )
    return Memory(scenes, tuple(packs))


def remember(out: Path, scenes: Iterable[Mapping[str, Any]]) -> None:
    """Keeps the packs in the folder `out` and what is known of their scenes, in the order of the packs.

    A disk without hard links, or another one than that of `out`, remembers nothing; that costs time alone.
    """
    lines = "\n".join(json.dumps(known, ensure_ascii=False) for known in scenes).encode()
    with suppress(InputError):
        for name in PACKS:
            with replacing(FOLDER / name) as draft:
                os.link(out / name, draft)
        with replacing(FOLDER / "scenes.jsonl") as draft:
            draft.write_bytes(hashlib.sha256(lines).hexdigest().encode() + b"\n" + lines)
