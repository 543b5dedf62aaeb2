"""The seasons and kinds of country that scenes are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[int, int, int]
# The two colours of each ground: crest and furrow of a crop's rows, or the two tones of a mottled sward.
COVERS: dict[str, tuple[Colour, Colour]] = {
    "bare": ((163, 143, 119), (139, 118, 96)),
    "ploughed": ((112, 98, 83), (86, 74, 63)),
    "emerging": ((114, 121, 84), (140, 124, 99)),
    "young": ((106, 126, 82), (86, 106, 68)),
    "lush": ((78, 108, 66), (56, 84, 53)),
    "dark": ((62, 88, 62), (44, 66, 49)),
    "ripe": ((188, 172, 128), (156, 140, 102)),
    "hay": ((150, 148, 100), (120, 122, 78)),
    "stubble": ((184, 172, 144), (152, 139, 113)),
}


@dataclass(frozen=True)
class Season:
    """What stands on the fields (names of COVERS, repeated by weight) and the colours of leaves."""

    covers: tuple[str, ...]
    leaves: tuple[Colour, ...]


SEASONS = (
    Season(("bare", "bare", "ploughed", "emerging", "young", "hay"), ((100, 102, 76), (112, 104, 88), (84, 98, 64))),
    Season(("lush", "dark", "dark", "young", "ripe", "hay"), ((62, 86, 54), (72, 96, 58), (58, 80, 58))),
    Season(("ripe", "ripe", "stubble", "dark", "hay", "lush"), ((70, 90, 56), (84, 98, 60), (64, 82, 58))),
    Season(("stubble", "ploughed", "bare", "emerging", "young"), ((92, 92, 66), (80, 90, 60), (98, 90, 70))),
)


@dataclass(frozen=True)
class Landscape:
    """A kind of country: typical lengths, and chances or shares in 0..1."""

    side: float  # of a parcel
    block: float  # side of the land between roads
    twist: float  # how much, in radians, directions change from split to split
    bend: float  # how far borders stray from straight lines
    hedges: float
    tracks: float
    rough: float
    wood: float
    river: float
    waterways: float
    hamlets: float  # mean number in 256 x 256 m
    pivots: float


LANDSCAPES = (
    Landscape(175, 480, 0.01, 0, 0.06, 0.12, 0.10, 0.04, 0.1, 0.7, 0.9, 0.0),  # mid-western sections
    Landscape(66, 330, 0.12, 5, 0.50, 0.08, 0.16, 0.06, 0.1, 0.0, 0.9, 0.0),  # small hedged fields
    Landscape(150, 420, 0.00, 0, 0.00, 0.25, 0.06, 0.02, 0.1, 0.0, 0.3, 0.9),  # pivots on dry land
    Landscape(105, 480, 0.15, 14, 0.10, 0.15, 0.08, 0.26, 0.1, 0.2, 0.4, 0.0),  # clearings in hilly woods
    Landscape(90, 420, 0.08, 6, 0.12, 0.15, 0.13, 0.06, 1.0, 0.1, 0.5, 0.0),  # river valley
)
