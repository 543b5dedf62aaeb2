"""What lies between parcels: roads, tracks, hedges and grass margins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fieldgap.demo.canvas import Canvas, Floats, Mask, cover, distance_to, opacity, vary_colour
from fieldgap.demo.parcels import Parcel, Plan, borders_between

ASPHALT, TAN = (151, 146, 137), (174, 161, 138)


def paint_way(canvas: Canvas, distance: Floats, verge: Any, surface: float, colour: Floats) -> None:
    """Paint a road or track with its verges.

    Args:
        canvas: The scene.
        distance: (H, W) to the middle of the way.
        verge: Half width of the strip of grass, a number or (H, W).
        surface: Half width of the way.
        colour: (3,) of the way.
    """
    cover(canvas, canvas.turf, opacity(distance, verge))
    cover(canvas, colour, opacity(distance + 0.15 * canvas.grain, surface))
    canvas.trees &= distance > verge


def symmetric_draws(rng: Generator, count: int) -> NDArray[np.float64]:
    """Return a random number in [0, 1) for each pair of parcels (count, count), the same in either order."""
    draw = np.triu(rng.random((count, count)), 1)
    return draw + draw.T


def paint_edges(canvas: Canvas, plan: Plan, edge: Mask) -> None:
    """Paint margins, hedges and tracks between the pairs of parcels that `edge` (N, N) marks."""
    rng, land = canvas.rng, canvas.land
    draw = symmetric_draws(rng, len(edge))
    cover(
        canvas,
        canvas.turf,
        opacity(distance_to(borders_between(plan, edge)), rng.uniform(0.9, 2.2) + 0.3 * canvas.clumps),
    )
    hedge = distance_to(borders_between(plan, edge & (draw < land.hedges)))
    cover(canvas, 0.8 * canvas.turf, opacity(hedge, 2.2))
    canvas.trees |= hedge < 1.6
    paint_way(canvas, distance_to(borders_between(plan, edge & (draw > 1 - land.tracks))), 2, 1, vary_colour(rng, TAN))


def paint_roads(canvas: Canvas, plan: Plan, road: Mask) -> None:
    """Paint roads between the pairs of parcels that `road` (N, N) marks, perhaps with hedges."""
    rng = canvas.rng
    distance, width = distance_to(borders_between(plan, road)), rng.uniform(1.6, 2.8)
    verge = width + rng.uniform(1, 4) + 0.5 * canvas.clumps
    paint_way(canvas, distance, verge, width, vary_colour(rng, ASPHALT if rng.random() < 0.5 else TAN))
    if rng.random() < canvas.land.hedges:
        canvas.trees |= np.abs(distance - width - 5) < 1.2


def paint_borders(canvas: Canvas, parcels: list[Parcel], plan: Plan) -> None:
    """Paint what lies between parcels: roads where two blocks meet, field edges elsewhere."""
    blocks = np.array([parcel.block for parcel in parcels])
    road = blocks[:, None] != blocks
    paint_edges(canvas, plan, ~road & ~np.eye(len(parcels), dtype=bool))
    paint_roads(canvas, plan, road)
