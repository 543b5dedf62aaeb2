"""Scenes decoded by several threads, in order, with few in memory at a time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import cv2
import numpy as np

from fieldgap.base.environment import cores
from fieldgap.base.errors import InputError
from fieldgap.base.labels import IGNORE
from fieldgap.data.ground import check_fit
from fieldgap.data.images import decode, decode_mask, read_file
from fieldgap.data.masks import Classified, Table, UnfitMaskError, classify, table_of
from fieldgap.data.pairs import ScenePaths
from fieldgap.data.palettes import Looks, check_palettes, in_colours, looks
from fieldgap.data.proposals import as_yaml, propose
from fieldgap.data.raster import Raster

if TYPE_CHECKING:
    from fieldgap.settings.sections import Data

Item = tuple[str, tuple[Path, Path]]
Result = TypeVar("Result")
PORTION, PORTION_BYTES = 8, 2**20  # The most scenes in a portion, and a size of files that ends one.


def portions(scenes: Iterable[Item]) -> Iterator[list[Item]]:
    """Group scenes into portions for the threads, because handing over small scenes one by one is slow.

    A portion lies in memory as a whole, so it has few scenes, and a large one ends it.
    """
    portion: list[Item] = []
    size = 0
    for scene in scenes:
        portion.append(scene)
        for path in scene[1]:
            with suppress(OSError):  # Reported when the file is read.
                size += path.stat().st_size
        if len(portion) == PORTION or size > PORTION_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def in_order(function: Callable[[Item], Result], scenes: Iterable[Item]) -> Iterator[Result]:
    """Yield `function` of each scene in order, computed by threads; few results wait, so memory stays flat."""
    cv2.setNumThreads(1)  # OpenCV's own threads would compete with ours for the cores.
    waiting: deque[Future[list[Result]]] = deque()
    with ThreadPoolExecutor(cores()) as pool:
        for portion in portions(scenes):
            waiting.append(pool.submit(lambda items: [function(item) for item in items], portion))
            if len(waiting) > 2 * cores():
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


@dataclass(frozen=True)
class Scene:
    """A decoded scene: its image (H, W, bands) and its mask (H, W)."""

    image: Raster
    mask: Classified

    @property
    def classes(self) -> np.ndarray:
        """The classes (H, W) uint8 of the mask."""
        return self.mask.classes

    @property
    def counts(self) -> Counter[str]:
        """The number of pixels of each raw value of the mask."""
        return self.mask.counts


class Counted(Protocol):
    """Anything made from a mask that knows the number of pixels of each raw value."""

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of pixels of each raw value."""


Read = TypeVar("Read", bound=Counted)


def _labelled(raster: Raster, table: Table, path: Path) -> Classified:
    """Return the classes of a decoded mask. If they are listed as colours, those of its palette count."""
    if table.in_colour:
        raster = in_colours(raster)
    mask = classify(raster.pixels, raster.valid, table, path)
    return replace(mask, looks=looks(raster, mask.counts))


def read_mask(path: Path, max_pixels: int, table: Table) -> Classified:
    """Return the classes of a mask file.

    Raises:
        InputError: The mask cannot be read, or has values that are not listed.
    """
    return _labelled(decode_mask(read_file(path), path, max_pixels), table, path)


def read_scene(image_path: Path, mask_path: Path, data: Data, table: Table) -> Scene:
    """Return a scene, its classes IGNORE where the image has no data.

    Raises:
        InputError: A file cannot be used, or image and mask differ in size or lie elsewhere.
    """
    image = decode(read_file(image_path), image_path, data.max_pixels, data.bands)
    raster = decode_mask(read_file(mask_path), mask_path, data.max_pixels)
    mask = _labelled(raster, table, mask_path)
    check_fit(image, image_path, raster, mask_path)
    if image.valid is not None:
        mask.classes[~image.valid] = IGNORE
    return Scene(image, mask)


def _refuse(problems: Sequence[InputError], total: int, counts: Sequence[Mapping[str, int]]) -> None:
    lines = [f"{len(problems)} of {total} scenes cannot be used:", *map(str, problems)]
    if any(isinstance(problem, UnfitMaskError) for problem in problems):
        with suppress(ValueError):  # Nothing fits.
            proposal = propose(counts)
            lines += ["these masks would be accepted with", "  data:"]
            lines += [f"    {key}: {as_yaml(value)}" for key, value in proposal.items()]
    raise InputError("\n  ".join(lines))


def read_all(paths: ScenePaths, read: Callable[[Path, Path], Read]) -> Iterator[tuple[str, Read]]:
    """Yield each scene's name and what `read` makes of its image and mask, in order.

    Raises:
        InputError: Some scenes cannot be used. Raised after the last scene; lists all of them, and the keys of `data`
            that would accept all masks.
    """

    def attempt(item: Item) -> tuple[str, Read | InputError]:
        try:
            return item[0], read(*item[1])
        except InputError as error:
            return item[0], error

    problems: list[InputError] = []
    counts: list[Mapping[str, int]] = []
    for name, result in in_order(attempt, paths.items()):
        if isinstance(result, InputError):
            problems.append(result)
            counts += [result.counts] if isinstance(result, UnfitMaskError) else []
        else:
            counts.append(result.counts)
            yield name, result
    if problems:
        _refuse(problems, len(paths), counts)


def read_masks(paths: ScenePaths, data: Data) -> Iterator[tuple[str, Classified]]:
    """Yield each scene's name and mask, in order; raises as `read_all` does, and if palettes contradict each other."""
    table = table_of(data)
    found: list[tuple[Path, Looks]] = []
    for name, mask in read_all(paths, lambda _, mask: read_mask(mask, data.max_pixels, table)):
        found.append((paths[name][1], mask.looks))
        yield name, mask
    check_palettes(found)
