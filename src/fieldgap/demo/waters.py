"""Waterways, ponds and rivers."""

from __future__ import annotations

import cv2
import numpy as np

from fieldgap.demo.canvas import (
    WHOLE,
    Canvas,
    Floats,
    cover,
    distance_to,
    local_axes,
    opacity,
    random_point,
    vary_colour,
)
from fieldgap.demo.country import Colour

SAND = (176, 162, 136)
WATERS: tuple[Colour, ...] = ((118, 108, 84), (84, 88, 68), (54, 64, 60), (70, 82, 80))


def distance_to_winding_line(canvas: Canvas, sway: float, span: tuple[float, float]) -> Floats:
    """Return the distance (H, W) to a winding line; `span` is its start and end in scene widths from a random point."""
    rng, size = canvas.rng, len(canvas.image)
    along = np.arange(span[0] * size, span[1] * size, 3)
    waves = rng.uniform(140, 420, 3)
    aside = sum(sway * wave / 400 * np.sin(2 * np.pi * along / wave + rng.uniform(0, 6.3)) for wave in waves)
    heading, start = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.75, 2) * size
    x = start[0] + along * np.cos(heading) - aside * np.sin(heading)
    y = start[1] + along * np.sin(heading) + aside * np.cos(heading)
    seeds = np.zeros(canvas.farmland.shape, np.uint8)
    cv2.polylines(seeds, [np.rint(np.stack([x, y], axis=1)).astype(np.int32)], isClosed=False, color=1)
    return distance_to(seeds > 0)


def paint_water(canvas: Canvas, distance: Floats, width: float) -> None:
    """Paint water where `distance` (H, W) is less than `width`, with banks and some trees along them."""
    rng = canvas.rng
    colour = vary_colour(rng, WATERS[rng.integers(len(WATERS))])
    distance = distance + 1.2 * canvas.clumps + 0.3 * width * canvas.patches
    cover(canvas, canvas.turf, opacity(distance, width + rng.uniform(3, 8)))
    cover(canvas, vary_colour(rng, SAND), opacity(distance, width + 1.5) * np.clip(0.3 + 0.6 * canvas.patches, 0, 0.8))
    cover(canvas, colour * (1 + 0.02 * canvas.patches[..., None]), opacity(distance, width))
    canvas.trees |= (distance < width + 9) & (canvas.swells + 0.5 * canvas.patches > rng.uniform(-0.6, 0.8))
    canvas.trees &= distance > width + 1


def paint_waters(canvas: Canvas) -> None:
    """Paint a grassed waterway across the fields, ponds and a river, or only some of them."""
    rng = canvas.rng
    if rng.random() < canvas.land.waterways:
        cover(
            canvas,
            canvas.turf,
            opacity(distance_to_winding_line(canvas, 16, (-0.2, rng.uniform(0.2, 0.8))) + 0.5 * canvas.clumps, 4),
        )
    for _ in range(rng.poisson(0.3 * canvas.plots)):
        along, aside = local_axes(canvas, WHOLE, random_point(canvas), rng.uniform(0, np.pi))
        paint_water(canvas, np.hypot(along, aside * rng.uniform(1, 1.8)), rng.uniform(5, 14))
    if rng.random() < canvas.land.river:
        paint_water(canvas, distance_to_winding_line(canvas, 30, (-1.5, 1.5)), rng.uniform(4, 13))
