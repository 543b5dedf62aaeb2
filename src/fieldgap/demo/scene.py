"""A scene, from the choice of its season to the photograph."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fieldgap.base.errors import InputError
from fieldgap.demo.borders import paint_borders
from fieldgap.demo.canvas import Canvas, blend, smooth_noise, vary_colour
from fieldgap.demo.country import LANDSCAPES, SEASONS
from fieldgap.demo.farmsteads import paint_farmstead
from fieldgap.demo.fields import paint_parcels
from fieldgap.demo.parcels import divide, draw_plan
from fieldgap.demo.trees import paint_trees, paint_woods
from fieldgap.demo.waters import paint_waters

Bytes = NDArray[np.uint8]
SMALLEST = 32  # Side of a scene, in px.
NOISE_SCALES = (2, 7, 22, 80)


def bare_canvas(size: int, rng: Generator) -> Canvas:
    """Return a canvas of turf in a random landscape and season."""
    land = LANDSCAPES[rng.integers(len(LANDSCAPES))]
    land = replace(land, rough=land.rough * rng.uniform(0.1, 1.7), wood=land.wood * rng.uniform(0, 1.6))
    season = SEASONS[rng.integers(len(SEASONS))]
    noises = [smooth_noise(rng, size, scale) for scale in NOISE_SCALES]
    first, second = np.array([(116, 122, 82), (90, 104, 66)], np.float32) * rng.normal(1, 0.05, 3)
    turf = blend(first, second, 0.5 + 0.25 * noises[0] + 0.25 * noises[1] + 0.2 * noises[2])
    y, x = np.mgrid[:size, :size].astype(np.float32)
    leaves = vary_colour(rng, season.leaves[rng.integers(len(season.leaves))])
    farmland, trees, bushes = np.zeros((3, size, size), bool)
    height = np.zeros((size, size), np.float32)
    return Canvas(rng, land, season, leaves, turf.copy(), turf, farmland, trees, bushes, height, x, y, *noises)


def paint_scene(size: int, rng: Generator) -> Canvas:
    """Return a painted scene without light, from the ground up: later things hide earlier ones."""
    canvas = bare_canvas(size, rng)
    parcels = divide(size, canvas.land, rng)
    plan = draw_plan(parcels, size, canvas.land.bend, rng)
    paint_parcels(canvas, parcels, plan)
    paint_woods(canvas)
    paint_borders(canvas, parcels, plan)
    paint_waters(canvas)
    for _ in range(rng.poisson(canvas.land.hamlets * canvas.plots)):
        paint_farmstead(canvas)
    paint_trees(canvas)
    return canvas


def cast_light(canvas: Canvas) -> None:
    """Light the scene: slopes towards the sun are brighter, and tall things cast shadows."""
    rng = canvas.rng
    azimuth, fall = rng.uniform(0.1, 0.9) * np.pi, rng.uniform(0.8, 1.7)  # The sun is in the south, where y points.
    sun_x, sun_y = np.cos(azimuth), np.sin(azimuth)
    dark = np.zeros_like(canvas.height)
    for step in range(1, 13):
        move = np.array([[1, 0, -step * sun_x], [0, 1, -step * sun_y]])
        cast = cv2.warpAffine(canvas.height, move, canvas.height.shape, borderMode=cv2.BORDER_REPLICATE)
        dark = np.maximum(dark, np.clip(cast - step * fall - canvas.height, 0, 1))
    down, right = np.gradient(canvas.height)
    slope = np.clip(-0.13 * (right * sun_x + down * sun_y), -0.28, 0.28)
    shade = rng.uniform(0.35, 0.6) * dark[..., None] * np.array([1.0, 0.96, 0.86], np.float32)
    canvas.image *= (1 + slope[..., None]) * (1 - shade)


def photograph(canvas: Canvas) -> Bytes:
    """Return the image (H, W, 3) that a camera takes, with exposure, haze, white balance, blur and noise."""
    rng = canvas.rng
    light = canvas.image * rng.normal(1, 0.07) * rng.normal(1, 0.015, 3)
    light = 120 + (light - 120) * rng.uniform(0.85, 1.15)
    light = light + rng.uniform(0, 0.16) * (np.array([196, 200, 198]) - light)
    sharp = cv2.GaussianBlur(light.astype(np.float32), (0, 0), rng.uniform(0.5, 0.75))
    noise = rng.standard_normal(sharp.shape, dtype=np.float32) * np.float32(rng.uniform(1, 3))
    return np.asarray(np.clip(np.rint(sharp + noise), 0, 255), np.uint8)


def draw_scene(size: int, seed: int, index: int) -> tuple[Bytes, Bytes]:
    """Draw a scene, a function of its arguments alone.

    Returns:
        An image (size, size, 3) uint8 RGB, and its mask (size, size) uint8, 255 for farmland and 0 elsewhere.

    Raises:
        InputError: The size is too small.
    """
    if size < SMALLEST:
        raise InputError(f"demo.size: {size} px are too few to show a field and its border; set {SMALLEST} or more")
    rng = np.random.default_rng([seed, index])
    canvas = paint_scene(size, rng)
    while not 0.2 < canvas.farmland.mean() < 0.96:  # A scene of one class teaches nothing.
        canvas = paint_scene(size, rng)
    cast_light(canvas)
    return photograph(canvas), np.where(canvas.farmland, 255, 0).astype(np.uint8)
