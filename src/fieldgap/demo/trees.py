"""Woods, trees and bushes."""

from __future__ import annotations

import cv2
import numpy as np

from fieldgap.demo.canvas import Canvas, Mask, cover

DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))


def paint_woods(canvas: Canvas) -> None:
    """Mark woods with ragged edges for planting; they cover about the share `land.wood` of the scene."""
    field = canvas.swells + 0.5 * canvas.patches + 0.15 * canvas.clumps
    level = 2.0 * (0.5 - canvas.land.wood) * canvas.rng.uniform(0.9, 1.8) + canvas.rng.normal(0, 0.15)
    wood = (field > level * 1.4).astype(np.uint8)
    canvas.trees |= cv2.morphologyEx(wood, cv2.MORPH_CLOSE, DISC, iterations=2) > 0


def paint_crowns(canvas: Canvas, where: Mask, spacing: float, tallest: float) -> None:
    """Paint tree crowns, at most one per square of a grid.

    Args:
        canvas: The scene.
        where: (H, W) where centres of crowns may lie.
        spacing: Side of the squares.
        tallest: Greatest height.
    """
    rng, size = canvas.rng, len(canvas.image)
    cells = np.indices((int(size / spacing) + 1,) * 2).reshape(2, -1)
    row, column = np.minimum((cells + rng.uniform(0, 1, cells.shape)) * spacing, size - 1).astype(int)
    seeds = np.ones((size, size), np.uint8)
    seeds[row, column] = 0
    distance, owner = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    radius = np.zeros(owner.max() + 1, np.float32)
    radius[owner[row, column]] = where[row, column] * spacing * rng.uniform(0.4, 1.05, len(row))
    tint = rng.normal(1, 0.09, (len(radius), 1)) * rng.normal(1, 0.025, (len(radius), 3))
    dome = 1 - ((distance + 0.5 * canvas.grain) / np.maximum(radius[owner], 0.1)) ** 2
    crown = (dome > 0) & (radius[owner] > 0) & (canvas.height < 1)
    light = 0.86 + 0.3 * np.clip(dome, 0, 1) + 0.1 * canvas.grain + 0.05 * canvas.patches
    canvas.image[crown] = (tint[owner] * canvas.leaves * light[..., None])[crown]
    canvas.height[crown] = (tallest * (0.45 + 0.55 * np.sqrt(np.clip(dome, 0, 1))))[crown]
    canvas.farmland &= ~crown


def paint_trees(canvas: Canvas) -> None:
    """Paint the floor of woods, then trees and bushes; crumbs of fields between them become grass."""
    floor = cv2.morphologyEx(canvas.trees.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    cover(canvas, 0.6 * canvas.turf, floor.astype(np.float32))
    fields = canvas.farmland.astype(np.uint8)
    cover(canvas, canvas.turf, (fields - cv2.morphologyEx(fields, cv2.MORPH_OPEN, DISC)).astype(np.float32))
    paint_crowns(canvas, canvas.trees, canvas.rng.uniform(4.2, 7), canvas.rng.uniform(6, 11))
    paint_crowns(canvas, canvas.bushes & ~canvas.farmland, 4.5, 2.5)
