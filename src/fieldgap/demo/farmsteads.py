"""Farmsteads: yards, roofs and garden trees."""

from __future__ import annotations

import numpy as np

from fieldgap.demo.canvas import WHOLE, Canvas, Floats, frame, jitter, lay, local, somewhere, within
from fieldgap.demo.country import Colour

ROOFS: tuple[Colour, ...] = ((206, 204, 200), (150, 146, 144), (142, 100, 84), (110, 104, 104), (176, 160, 146))


def build(canvas: Canvas, centre: Floats, heading: float) -> None:
    """A house or a barn (h up to 9 m) under a ridged roof."""
    rng = canvas.rng
    long, wide = rng.uniform(5, 14), rng.uniform(3.5, 6)
    window = frame(centre[None], 20)
    along, aside = local(canvas, window, centre, heading)
    roof = (np.abs(along) < long) & (np.abs(aside) < wide)
    canvas.image[window][roof] = jitter(rng, ROOFS[rng.integers(len(ROOFS))])
    canvas.farmland[window] &= ~roof
    canvas.height[window][roof] = (4 + 0.6 * (wide - np.abs(aside)))[roof]
    canvas.trees[window] &= (np.abs(along) > long + 3) | (np.abs(aside) > wide + 3)


def settle(canvas: Canvas) -> None:
    """A farmstead: a yard in grass and gravel, a few roofs at right angles, garden trees."""
    rng = canvas.rng
    centre = somewhere(canvas)
    heading, half = rng.uniform(0, np.pi), rng.uniform(16, 40)
    along, aside = local(canvas, WHOLE, centre, heading)
    distance = np.maximum(np.abs(along), 1.3 * np.abs(aside)) + canvas.clumps
    lay(canvas, canvas.turf, within(distance, half))
    lay(canvas, jitter(rng, (186, 176, 158)), within(np.hypot(along, aside) + 3 * canvas.clumps, half / 3))
    canvas.bushes &= distance > half
    canvas.trees &= distance > half
    canvas.trees |= (distance < half) & (canvas.clumps > 0.9)
    canvas.trees |= (distance < half) & (along > half - 8)
    for _ in range(rng.integers(2, 8)):
        spot = centre + rng.uniform(-0.7, 0.7, 2).astype(np.float32) * half
        build(canvas, spot, heading + rng.choice([0, np.pi / 2]) + rng.normal(0, 0.03))
