"""The seasons and landscapes that scenes are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[int, int, int]
# Two colours each: crest and furrow of a crop's rows, or the two tones of rough grass.
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
    """What grows on fields, as names in COVERS repeated by weight, and the colours of leaves."""

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
    """A kind of country. Lengths are in metres; all else are probabilities, shares or means.

    Attributes:
        side: Side of a parcel.
        block: Side of the land between roads.
        twist: How much directions change from one division of land to the next, in radians.
        bend: How far borders deviate from straight lines.
        hedges: Probability of a hedge along a field edge or road.
        tracks: Probability of a track along a field edge.
        rough: Share of parcels under rough grazing.
        wood: Share of the scene under woods.
        river: Probability of a river.
        waterways: Probability of a grassed waterway.
        hamlets: Mean number of farmsteads in 256 x 256 m.
        pivots: Probability that a field is round, under a pivot.
    """

    side: float
    block: float
    twist: float
    bend: float
    hedges: float
    tracks: float
    rough: float
    wood: float
    river: float
    waterways: float
    hamlets: float
    pivots: float


LANDSCAPES = (
    Landscape(175, 480, 0.01, 0, 0.06, 0.12, 0.10, 0.04, 0.1, 0.7, 0.9, 0.0),  # Sections of the Midwest.
    Landscape(66, 330, 0.12, 5, 0.50, 0.08, 0.16, 0.06, 0.1, 0.0, 0.9, 0.0),  # Small hedged fields.
    Landscape(150, 420, 0.00, 0, 0.00, 0.25, 0.06, 0.02, 0.1, 0.0, 0.3, 0.9),  # Pivots on dry land.
    Landscape(105, 480, 0.15, 14, 0.10, 0.15, 0.08, 0.26, 0.1, 0.2, 0.4, 0.0),  # Clearings in hilly woods.
    Landscape(90, 420, 0.08, 6, 0.12, 0.15, 0.13, 0.06, 1.0, 0.1, 0.5, 0.0),  # A river valley.
)
