"""What the values of a project make of scenes that check has found: how many each split gets, and how many tiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fieldgap.base.errors import InputError
from fieldgap.data.cutting import corners_of
from fieldgap.data.split import SPLITS, assign
from fieldgap.settings.params import read
from fieldgap.settings.sections import Normalize

if TYPE_CHECKING:
    from fieldgap.settings.sections import Split

PARAMS = Path("params.yaml")
SEEDS = 1000  # That are tried for a small set.
BATCHES = 2  # In an epoch, of a proposed size.
Shapes = Mapping[str, tuple[int, int]]  # Height and width in px of each scene, by its name.
Places = Mapping[str, str]  # The place that each scene shows.


@dataclass(frozen=True)
class Sharing:
    """The scenes of each split, the training tiles, and the values to change so that runs can be trained."""

    scenes: Mapping[str, int]
    tiles: int
    proposal: dict[str, dict[str, object]]

    def __str__(self) -> str:
        """Return one line."""
        counts = ", ".join(f"{self.scenes.get(split, 0)} {split}" for split in SPLITS)
        return f"scenes by the values of split in {PARAMS}: {counts}; {self.tiles} training tiles"


def places_of(names: Iterable[str], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the place that each scene shows, called by the first of its scenes.

    Args:
        names: All scenes.
        pairs: Scenes that show the same place.
    """
    first = {name: name for name in names}

    def root(name: str) -> str:
        while first[name] != name:
            first[name] = name = first[first[name]]
        return name

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        first[high] = low
    return {name: root(name) for name in first}


def _counts(places: Places, split: Split, seed: int) -> Counter[str]:
    return Counter(assign(place, split.val, split.test, seed) for place in places.values())


def _misses(counts: Mapping[str, int], split: Split, total: int) -> float:
    """Return by how many scenes the worst split misses its share; infinitely many if one is empty."""
    shares = {"train": 1 - split.val - split.test, "val": split.val, "test": split.test}
    misses = [abs(counts[name] - share * total) if counts[name] else float("inf") for name, share in shares.items()]
    return max(misses)


def _seed(places: Places, split: Split) -> int:
    """Return the seed of the project, or if that leaves a split empty, the one that meets the shares best."""

    def misses(seed: int) -> float:
        return _misses(_counts(places, split, seed), split, len(places))

    return split.seed if misses(split.seed) < float("inf") else min(range(SEEDS), key=misses)


def share(shapes: Shapes, places: Places, normalize: Mapping[str, object]) -> Sharing | None:
    """Return what the project in the working folder makes of scenes, with proposed values of normalize.

    None where there is no project, or its values cannot be read.
    """
    try:
        settings = read(PARAMS)
    except InputError:
        return None
    split, seed = settings.split, _seed(places, settings.split)
    config = Normalize(**{**asdict(settings.normalize), "pad": False, **normalize})
    train = [shape for name, shape in shapes.items() if assign(places[name], split.val, split.test, seed) == "train"]
    tiles = sum(1 for shape in train for _ in corners_of(shape, config))
    proposal: dict[str, dict[str, object]] = {"split": {"seed": seed}} if seed != split.seed else {}
    size = settings.train.get("batch_size")
    if isinstance(size, int) and size > tiles:
        proposal["train"] = {"batch_size": max(1, tiles // BATCHES)}
    return Sharing(_counts(places, split, seed), tiles, proposal)
