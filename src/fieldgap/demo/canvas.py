"""The canvas of a scene, and the strokes that every painter uses.

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
    """A scene while it is painted: all arrays (H, W), `image` and `turf` (H, W, 3)."""

    rng: Generator
    land: Landscape
    season: Season
    leaves: Floats
    image: Floats
    turf: Floats
    farmland: Mask
    trees: Mask  # where trees may have their trunk
    bushes: Mask
    height: Floats
    x: Floats
    y: Floats
    grain: Floats  # four noises of zero mean and unit deviation, from fine to as wide as a field
    clumps: Floats
    patches: Floats
    swells: Floats

    @property
    def plots(self) -> float:
        """The scene's area in units of 256 x 256 m."""
        return self.farmland.size / 256**2


def mottle(rng: Generator, size: int, scale: float) -> Floats:
    """Smooth isotropic noise (size, size) with spots of about `scale` pixels."""
    step = scale / 2
    cells = int(size / step) + 6
    coarse = cv2.GaussianBlur(rng.standard_normal((cells, cells), dtype=np.float32), (0, 0), 1.0)
    fine: Any = cv2.resize(coarse, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
    return np.asarray(fine[:size, :size] * (2 * np.sqrt(np.pi)), np.float32)  # The blur divided the deviation by this.


def mix(first: Floats, second: Floats, weight: Floats) -> Floats:
    """Colours (H, W, 3) from `first` (weight 0) to `second` (weight 1); `weight` is (H, W)."""
    share = np.clip(weight, 0, 1)[..., None]
    return np.asarray(first * (1 - share) + second * share, np.float32)


def jitter(rng: Generator, colour: Colour) -> Floats:
    """A colour (3,) a little lighter, darker, warmer or colder than the given one."""
    return (np.array(colour) * rng.normal(1, 0.06) * rng.normal(1, 0.012, 3)).astype(np.float32)


def lay(canvas: Canvas, colour: Floats, alpha: Floats) -> None:
    """Covers land that is no farmland with `colour`, as opaque as `alpha` (H, W)."""
    canvas.image = mix(canvas.image, colour, alpha)
    canvas.farmland &= alpha < 0.5


def reach(seeds: Mask) -> Floats:
    """Distance (H, W) to the nearest True pixel."""
    return np.asarray(cv2.distanceTransform((~seeds).astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def within(distance: Floats, width: Any) -> Floats:
    """Opacity (H, W) of what lies nearer than `width`, with an edge one pixel soft."""
    return np.asarray(np.clip(width - distance + 0.5, 0, 1), np.float32)


def frame(outline: Floats, margin: float) -> Window:
    """The window of the scene around some points (N, 2)."""
    left, top = np.maximum(outline.min(axis=0) - margin, 0).astype(int)
    right, bottom = np.maximum(outline.max(axis=0) + margin + 1, 0).astype(int)
    return slice(top, bottom), slice(left, right)


def local(canvas: Canvas, window: Window, centre: Floats, heading: float) -> tuple[Floats, Floats]:
    """Distances (h, w) from `centre` along `heading` and at right angles to it."""
    x, y = canvas.x[window] - centre[0], canvas.y[window] - centre[1]
    cos, sin = np.float32(np.cos(heading)), np.float32(np.sin(heading))
    return x * cos + y * sin, y * cos - x * sin


def somewhere(canvas: Canvas) -> Floats:
    """A random point (2,) of the scene."""
    return canvas.rng.uniform(0, len(canvas.image), 2).astype(np.float32)
