"""Scenes from disk, decoded by several threads at once, in order, with few in memory."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import cv2
import numpy as np

from fieldgap.base.environment import cores
from fieldgap.base.errors import InputError
from fieldgap.base.labels import IGNORE
from fieldgap.data.images import Raster, content, decode, decode_mask
from fieldgap.data.masks import Classified, Table, UnfitMaskError, classify, make_table, propose

if TYPE_CHECKING:
    from fieldgap.settings.sections import Data

Item = tuple[str, tuple[Path, Path]]
Result = TypeVar("Result")
Paths = Mapping[str, tuple[Path, Path]]
PORTION, PORTION_BYTES = 8, 2**20  # Scenes, and what their files may come to.


def portions(scenes: Iterable[Item]) -> Iterator[list[Item]]:
    """Yields scenes in the portions that threads take: to hand over small ones one by one takes a sixth of all work.

    All of a portion lie in memory at once, so it has few files, and large ones go alone.
    """
    portion: list[Item] = []
    size = 0
    for scene in scenes:
        portion.append(scene)
        for path in scene[1]:
            with suppress(OSError):  # It is named when it is read.
                size += path.stat().st_size
        if len(portion) == PORTION or size > PORTION_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def in_order(function: Callable[[Item], Result], scenes: Iterable[Item]) -> Iterator[Result]:
    """Yields the function of each scene in order, computed by threads; a few results wait, so memory stays flat."""
    cv2.setNumThreads(1)  # Its own threads would only take the cores from ours.
    waiting: deque[Future[list[Result]]] = deque()
    with ThreadPoolExecutor(cores()) as pool:
        for portion in portions(scenes):
            waiting.append(pool.submit(lambda each: [function(scene) for scene in each], portion))
            if len(waiting) > 2 * cores():
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


@dataclass(frozen=True)
class Scene:
    """A decoded scene: image (H, W, bands) uint8 or uint16, classes (H, W) uint8, the values of its mask, its file."""

    name: str
    path: Path
    image: Raster
    mask: Classified

    @property
    def classes(self) -> np.ndarray:
        return self.mask.classes

    @property
    def values(self) -> Counter[str]:
        return self.mask.values


class Valued(Protocol):
    """What holds a mask: the pixels of each of its values."""

    @property
    def values(self) -> Mapping[str, int]: ...


Read = TypeVar("Read", bound=Valued)


def table_of(data: Data) -> Table:
    return make_table(data.table, data.ignore, data.tolerance)


def read_mask(data: bytes, path: Path, max_pixels: int, table: Table) -> Classified:
    """The bytes of a mask -> its classes (H, W). Raises InputError."""
    raster = decode_mask(data, path, max_pixels)
    return classify(raster.pixels, raster.valid, table, path)


def read_scene(name: str, paths: tuple[Path, Path], files: tuple[bytes, bytes], data: Data, table: Table) -> Scene:
    """The bytes of an image and its mask -> a scene, its classes IGNORE where the image has no data.

    Raises InputError when it cannot be used.
    """
    image = decode(files[0], paths[0], data.max_pixels, data.bands)
    mask = read_mask(files[1], paths[1], data.max_pixels, table)
    height, width = mask.classes.shape
    if image.pixels.shape[:2] != (height, width):
        raise InputError(
            f"{paths[1]}: is {width} x {height} px but {paths[0].name} is "
            f"{image.pixels.shape[1]} x {image.pixels.shape[0]} px; a mask has the size of its image"
        )
    if image.valid is not None:
        mask.classes[~image.valid] = IGNORE
    return Scene(name, paths[0], image, mask)


def refuse(problems: Sequence[InputError], whole: int, values: Sequence[Mapping[str, int]]) -> None:
    """Raises one InputError that names all of `problems`, with the keys of `data` that would accept all masks."""
    lines = [f"{len(problems)} of {whole} scenes cannot be used:", *map(str, problems)]
    if any(isinstance(each, UnfitMaskError) for each in problems) and (mend := propose(values)):
        lines += ["these masks would be accepted with", "  data:"]
        lines += [f"    {key}: {spelt_yaml(value)}" for key, value in mend.items()]
    raise InputError("\n  ".join(lines))


def spelt_yaml(value: object) -> str:
    """-> a proposed value as YAML in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {spelt_yaml(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(spelt_yaml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def read_all(paths: Paths, read: Callable[[str, Path, Path], Read]) -> Iterator[tuple[str, Read]]:
    """Yields each scene's name and `read` of it, in order; after the last raises InputError that names all unfit."""

    def attempt(item: Item) -> tuple[str, Read | InputError]:
        try:
            return item[0], read(item[0], *item[1])
        except InputError as error:
            return item[0], error

    problems: list[InputError] = []
    values: list[Mapping[str, int]] = []
    for name, result in in_order(attempt, paths.items()):
        if isinstance(result, InputError):
            problems.append(result)
            values += [result.values] if isinstance(result, UnfitMaskError) else []
        else:
            values.append(result.values)
            yield name, result
    if problems:
        refuse(problems, len(paths), values)


def read_masks(paths: Paths, data: Data) -> Iterator[tuple[str, Classified]]:
    """Yields each scene's name and mask, in order. Raises InputError that lists all masks that are unfit."""
    table = table_of(data)
    return read_all(paths, lambda name, image, mask: read_mask(content(mask), mask, data.max_pixels, table))
