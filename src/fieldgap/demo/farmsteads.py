"""Farmsteads: yards, roofs and garden trees."""

from __future__ import annotations

import numpy as np

from fieldgap.demo.canvas import (
    WHOLE,
    Canvas,
    Floats,
    cover,
    local_axes,
    opacity,
    random_point,
    vary_colour,
    window_around,
)
from fieldgap.demo.country import Colour

ROOFS: tuple[Colour, ...] = ((206, 204, 200), (150, 146, 144), (142, 100, 84), (110, 104, 104), (176, 160, 146))


def paint_building(canvas: Canvas, centre: Floats, heading: float) -> None:
    """Paint a house or barn under a ridged roof."""
    rng = canvas.rng
    long, wide = rng.uniform(5, 14), rng.uniform(3.5, 6)
    window = window_around(centre[None], 20)
    along, aside = local_axes(canvas, window, centre, heading)
    roof = (np.abs(along) < long) & (np.abs(aside) < wide)
    canvas.image[window][roof] = vary_colour(rng, ROOFS[rng.integers(len(ROOFS))])
    canvas.farmland[window] &= ~roof
    canvas.height[window][roof] = (4 + 0.6 * (wide - np.abs(aside)))[roof]
    canvas.trees[window] &= (np.abs(along) > long + 3) | (np.abs(aside) > wide + 3)


def paint_farmstead(canvas: Canvas) -> None:
    """Paint a farmstead: a yard of grass and gravel, a few roofs at right angles, garden trees."""
    rng = canvas.rng
    centre = random_point(canvas)
    heading, half = rng.uniform(0, np.pi), rng.uniform(16, 40)
    along, aside = local_axes(canvas, WHOLE, centre, heading)
    distance = np.maximum(np.abs(along), 1.3 * np.abs(aside)) + canvas.clumps
    cover(canvas, canvas.turf, opacity(distance, half))
    cover(canvas, vary_colour(rng, (186, 176, 158)), opacity(np.hypot(along, aside) + 3 * canvas.clumps, half / 3))
    canvas.bushes &= distance > half
    canvas.trees &= distance > half
    canvas.trees |= (distance < half) & (canvas.clumps > 0.9)
    canvas.trees |= (distance < half) & (along > half - 8)
    for _ in range(rng.integers(2, 8)):
        spot = centre + rng.uniform(-0.7, 0.7, 2).astype(np.float32) * half
        paint_building(canvas, spot, heading + rng.choice([0, np.pi / 2]) + rng.normal(0, 0.03))
