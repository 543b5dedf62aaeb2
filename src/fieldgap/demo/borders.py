"""What lies between parcels: roads, tracks, hedges and grass margins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fieldgap.demo.canvas import Canvas, Floats, Mask, jitter, lay, reach, within
from fieldgap.demo.parcels import Parcel, Plan, seams

ASPHALT, TAN = (151, 146, 137), (174, 161, 138)


def pave(canvas: Canvas, distance: Floats, verge: Any, surface: float, colour: Floats) -> None:
    """A road or track along zero `distance`: a strip of grass, and the surface in its middle (half widths)."""
    lay(canvas, canvas.turf, within(distance, verge))
    lay(canvas, colour, within(distance + 0.15 * canvas.grain, surface))
    canvas.trees &= distance > verge


def couples(rng: Generator, count: int) -> NDArray[np.float64]:
    """A random number in 0..1 for each pair of parcels, in either order (count, count)."""
    draw = np.triu(rng.random((count, count)), 1)
    return draw + draw.T


def paint_edges(canvas: Canvas, plan: Plan, edge: Mask) -> None:
    """Margins, hedges and tracks between the pairs of parcels that `edge` (N, N) marks."""
    rng, land = canvas.rng, canvas.land
    draw = couples(rng, len(edge))
    lay(canvas, canvas.turf, within(reach(seams(plan, edge)), rng.uniform(0.9, 2.2) + 0.3 * canvas.clumps))
    hedge = reach(seams(plan, edge & (draw < land.hedges)))
    lay(canvas, 0.8 * canvas.turf, within(hedge, 2.2))
    canvas.trees |= hedge < 1.6
    pave(canvas, reach(seams(plan, edge & (draw > 1 - land.tracks))), 2, 1, jitter(rng, TAN))


def paint_roads(canvas: Canvas, plan: Plan, road: Mask) -> None:
    """Roads between the pairs of parcels that `road` (N, N) marks, perhaps between hedges."""
    rng = canvas.rng
    distance, width = reach(seams(plan, road)), rng.uniform(1.6, 2.8)
    verge = width + rng.uniform(1, 4) + 0.5 * canvas.clumps
    pave(canvas, distance, verge, width, jitter(rng, ASPHALT if rng.random() < 0.5 else TAN))
    if rng.random() < canvas.land.hedges:
        canvas.trees |= np.abs(distance - width - 5) < 1.2


def paint_borders(canvas: Canvas, parcels: list[Parcel], plan: Plan) -> None:
    """What lies between parcels: roads where two blocks meet, edges of fields elsewhere."""
    blocks = np.array([parcel.block for parcel in parcels])
    road = blocks[:, None] != blocks
    paint_edges(canvas, plan, ~road & ~np.eye(len(parcels), dtype=bool))
    paint_roads(canvas, plan, road)
