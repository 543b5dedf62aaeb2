"""What grows on parcels: crops in rows, round fields under pivots, rough grazing."""

from __future__ import annotations

import cv2
import numpy as np

from fieldgap.demo.canvas import Canvas, Floats, Mask, Window, blend, distance_to, local_axes, opacity, window_around
from fieldgap.demo.country import COVERS
from fieldgap.demo.parcels import Parcel, Plan


def crop_colours(canvas: Canvas) -> Floats:
    """Return the two colours (2, 3) of one of the season's covers, varied for one parcel."""
    pair = np.array(COVERS[canvas.rng.choice(canvas.season.covers)], np.float32)
    return pair * canvas.rng.normal(1, 0.05) * canvas.rng.normal(1, 0.015, 3).astype(np.float32)


def crop_rows(canvas: Canvas, line: Floats) -> tuple[Floats, Floats]:
    """Return relief and light (h, w) of rows that run along equal values of `line` (h, w).

    Relief is positive on crests and negative in furrows. Light is a factor near 1 that shows machine passes and wheels.
    """
    rng = canvas.rng
    period = np.float32(3 + rng.gamma(1.5, 0.8))
    ridge = rng.choice([0.12, 0.28, 0.38, 0.48]) * np.sin(line * (2 * np.pi / period))
    passes = rng.normal(0, rng.uniform(0.01, 0.04), 97).astype(np.float32)
    spacing = np.float32(rng.uniform(18, 30))
    wheels = opacity(np.abs(np.abs(line % spacing - spacing / 2) - 1.4), 0.2)
    light = 1 + passes[np.floor(line / (2 * period)).astype(int) % 97] + rng.choice([-0.12, 0, 0, 0.12]) * wheels
    return ridge.astype(np.float32), light.astype(np.float32)


def paint_crop(canvas: Canvas, window: Window, inside: Mask, line: Floats) -> None:
    """Paint a crop whose rows run along equal values of `line` (h, w)."""
    ridge, light = crop_rows(canvas, line)
    moisture = 0.6 * canvas.swells[window] + 0.4 * canvas.patches[window]
    crest, furrow = crop_colours(canvas)
    stand = np.clip(1 + 0.35 * canvas.patches[window], 0.3, 1.4)  # Rows are clearer in some places than in others.
    weight = 0.5 + ridge * stand + 0.12 * canvas.grain[window] + canvas.rng.uniform(0.05, 0.25) * moisture
    light = (light + canvas.rng.uniform(0.01, 0.07) * moisture).astype(np.float32)
    canvas.image[window][inside] = (blend(furrow, crest, weight) * light[..., None])[inside]
    canvas.farmland[window] |= inside


def paint_rough(canvas: Canvas, window: Window, inside: Mask) -> None:
    """Paint grazing, scrub or heath: the colours of a crop in tussocks, with some bushes."""
    first, second = crop_colours(canvas)
    grain, clumps, patches = canvas.grain[window], canvas.clumps[window], canvas.patches[window]
    tussocks = canvas.rng.uniform(0.8, 1.2) * (0.35 * grain + 0.45 * clumps + 0.2 * patches)
    light = 1 + canvas.rng.uniform(0.07, 0.12) * (clumps + 0.6 * grain)
    canvas.image[window][inside] = (blend(first, second, 0.5 + tussocks) * light[..., None])[inside]
    canvas.bushes[window] |= inside & (patches + 0.7 * clumps > canvas.rng.uniform(0.5, 2.5))


def paint_field(canvas: Canvas, parcel: Parcel, window: Window, inside: Mask) -> None:
    """Paint a parcel under a crop, with rows parallel to the nearest border on its headlands."""
    rng = canvas.rng
    heading = parcel.heading + rng.choice([0, np.pi / 2]) + rng.normal(0, 0.02)
    line = local_axes(canvas, window, parcel.outline[0], heading)[1] + 0.8 * canvas.land.bend * canvas.swells[window]
    depth = distance_to(~inside)
    paint_crop(canvas, window, inside, np.where(depth < rng.choice([0, 8, 14]), depth, line).astype(np.float32))


def paint_pivot(canvas: Canvas, parcel: Parcel, window: Window, inside: Mask) -> None:
    """Paint a round field under a pivot, with rough corners; some are sown in two halves."""
    rng = canvas.rng
    paint_rough(canvas, window, inside)
    centre = parcel.outline.mean(axis=0)
    along, line = local_axes(canvas, window, centre, rng.uniform(0, np.pi))
    radius = np.hypot(along, line)
    circle = inside & (radius < 0.485 * np.sqrt(cv2.contourArea(parcel.outline)))
    rings = radius if rng.random() < 0.2 else line
    paint_crop(canvas, window, circle, rings)
    if rng.random() < 0.35:
        paint_crop(canvas, window, circle & (along > 0), rings)


def paint_parcels(canvas: Canvas, parcels: list[Parcel], plan: Plan) -> None:
    """Paint every parcel as a field, a pivot, rough grazing or a wood."""
    for number, parcel in enumerate(parcels):
        window = window_around(parcel.outline, 3 * canvas.land.bend + 2)
        inside = plan[window] == number
        if not inside.any():
            continue
        use = canvas.rng.random()
        if use < canvas.land.rough:
            paint_rough(canvas, window, inside)
        elif use < canvas.land.rough + 0.3 * canvas.land.wood:
            canvas.trees[window] |= inside
        elif canvas.rng.random() < canvas.land.pivots:
            paint_pivot(canvas, parcel, window, inside)
        else:
            paint_field(canvas, parcel, window, inside)
