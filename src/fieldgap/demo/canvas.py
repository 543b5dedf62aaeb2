"""The canvas of a scene, and the strokes that all painters use.

Colours are RGB in 0..255, lengths and heights are in metres, and a pixel is one metre wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fieldgap.demo.country import Colour, Landscape, Season

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Window = tuple[slice, slice]
WHOLE = (slice(None), slice(None))


@dataclass
class Canvas:
    """A scene while it is painted.

    All arrays are (H, W), or (H, W, 3) for `image` and `turf`. `trees` marks where trunks may stand. The noises `grain`
    to `swells` have mean 0 and deviation 1, and range from fine grain to spots as wide as a field.
    """

    rng: Generator
    land: Landscape
    season: Season
    leaves: Floats
    image: Floats
    turf: Floats
    farmland: Mask
    trees: Mask
    bushes: Mask
    height: Floats
    x: Floats
    y: Floats
    grain: Floats
    clumps: Floats
    patches: Floats
    swells: Floats

    @property
    def plots(self) -> float:
        """The area of the scene in units of 256 x 256 m."""
        return self.farmland.size / 256**2


def smooth_noise(rng: Generator, size: int, scale: float) -> Floats:
    """Return isotropic noise (size, size) of deviation 1 with spots of about `scale` pixels."""
    step = scale / 2
    cells = int(size / step) + 6
    coarse = cv2.GaussianBlur(rng.standard_normal((cells, cells), dtype=np.float32), (0, 0), 1.0)
    fine: Any = cv2.resize(coarse, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
    unit = 2 * np.sqrt(np.pi)  # Undoes what the blur does to the deviation.
    return np.asarray(fine[:size, :size] * unit, np.float32)


def blend(first: Floats, second: Floats, weight: Floats) -> Floats:
    """Return colours (H, W, 3) between two, where `weight` (H, W) is the share of the second, clipped to 0..1."""
    share = np.clip(weight, 0, 1)[..., None]
    return np.asarray(first * (1 - share) + second * share, np.float32)


def vary_colour(rng: Generator, colour: Colour) -> Floats:
    """Return a colour (3,) a little lighter, darker, warmer or colder than the given one."""
    return (np.array(colour) * rng.normal(1, 0.06) * rng.normal(1, 0.012, 3)).astype(np.float32)


def cover(canvas: Canvas, colour: Floats, alpha: Floats) -> None:
    """Cover land with `colour` of opacity `alpha` (H, W); what is at least half covered is no longer farmland."""
    canvas.image = blend(canvas.image, colour, alpha)
    canvas.farmland &= alpha < 0.5


def distance_to(pixels: Mask) -> Floats:
    """Return the distance (H, W) to the nearest True pixel."""
    return np.asarray(cv2.distanceTransform((~pixels).astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def opacity(distance: Floats, width: Any) -> Floats:
    """Return the opacity (H, W) of a shape that ends at `width`, with an edge one pixel soft."""
    return np.asarray(np.clip(width - distance + 0.5, 0, 1), np.float32)


def window_around(outline: Floats, margin: float) -> Window:
    """Return the window of the scene around some points (N, 2)."""
    left, top = np.maximum(outline.min(axis=0) - margin, 0).astype(int)
    right, bottom = np.maximum(outline.max(axis=0) + margin + 1, 0).astype(int)
    return slice(top, bottom), slice(left, right)


def local_axes(canvas: Canvas, window: Window, centre: Floats, heading: float) -> tuple[Floats, Floats]:
    """Return the distances (h, w) from `centre` along `heading` and at right angles to it."""
    x, y = canvas.x[window] - centre[0], canvas.y[window] - centre[1]
    cos, sin = np.float32(np.cos(heading)), np.float32(np.sin(heading))
    return x * cos + y * sin, y * cos - x * sin


def random_point(canvas: Canvas) -> Floats:
    """Return a random point (2,) of the scene."""
    return canvas.rng.uniform(0, len(canvas.image), 2).astype(np.float32)
