"""The plan of the land: parcels, and the borders between them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fieldgap.demo.canvas import Floats, Mask, smooth_noise
from fieldgap.demo.country import Landscape

Plan = NDArray[np.uint16]


@dataclass(frozen=True)
class Parcel:
    """A convex polygon (N, 2) of x and y, the number of its block of land between roads, and its heading in radians."""

    outline: Floats
    block: int
    heading: float


def clip(outline: Floats, point: Floats, normal: Floats) -> Floats:
    """Return the part of a convex polygon (N, 2) on the side of the line that `normal` points to."""
    side = (outline - point) @ normal
    kept: list[Floats] = []
    for i in range(len(outline)):
        if side[i - 1] * side[i] < 0:
            kept.append(outline[i - 1] + (outline[i] - outline[i - 1]) * side[i - 1] / (side[i - 1] - side[i]))
        if side[i] >= 0:
            kept.append(outline[i])
    return np.array(kept, np.float32)


def halve(parcel: Parcel, rng: Generator, twist: float) -> tuple[Floats, Floats, float]:
    """Cut a parcel across its longer extent; return two outlines and their heading."""
    heading = parcel.heading + rng.normal(0, twist)
    axes = np.array([[np.cos(heading), np.sin(heading)], [-np.sin(heading), np.cos(heading)]], np.float32)
    spread = np.ptp(parcel.outline @ axes.T, axis=0)
    normal = axes[int(np.argmax(spread * rng.uniform(0.75, 1.25, 2)))]
    point = parcel.outline.mean(axis=0) + normal * spread.max() * rng.uniform(-0.12, 0.12)
    return clip(parcel.outline, point, normal), clip(parcel.outline, point, -normal), heading


def divide(size: int, land: Landscape, rng: Generator) -> list[Parcel]:
    """Return parcels that cover the scene, halved until each is about `land.side` wide."""
    heading = rng.normal(0, 0.05) if land.twist < 0.05 else rng.uniform(0, np.pi)
    half = 0.75 * size + land.side
    turn = np.array([[np.cos(heading), np.sin(heading)], [-np.sin(heading), np.cos(heading)]])
    square = half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ turn + size / 2
    waiting, done, blocks = [Parcel(square.astype(np.float32), 0, heading)], [], 0
    while waiting:
        parcel = waiting.pop()
        area = cv2.contourArea(parcel.outline)
        if area < 1.5 * land.side**2 * rng.uniform(0.6, 1.6):
            done.append(parcel)
            continue
        first, second, turned = halve(parcel, rng, land.twist)
        blocks += area > land.block**2
        beyond = blocks if area > land.block**2 else parcel.block
        waiting += [Parcel(first, parcel.block, turned), Parcel(second, beyond, turned)]
    return done


def draw_plan(parcels: list[Parcel], size: int, bend: float, rng: Generator) -> Plan:
    """Return the number of each pixel's parcel (size, size); borders deviate from straight lines by about `bend`."""
    margin = int(3 * bend) + 1
    plan = np.zeros((size + 2 * margin, size + 2 * margin), np.uint16)
    for number, parcel in enumerate(parcels):
        cv2.fillConvexPoly(plan, np.rint(parcel.outline + margin).astype(np.int32), number)
    y, x = np.mgrid[:size, :size].astype(np.float32) + margin
    stray_x, stray_y = (np.clip(bend * smooth_noise(rng, size, 90), -margin, margin) for _ in range(2))
    return cv2.remap(plan, x + stray_x, y + stray_y, cv2.INTER_NEAREST).astype(np.uint16)


def borders_between(plan: Plan, joins: Mask) -> Mask:
    """Return the pixels (H, W) on borders between the pairs of parcels that `joins` (N, N) marks."""
    found = np.zeros(plan.shape, bool)
    found[:, 1:] |= joins[plan[:, :-1], plan[:, 1:]]
    found[1:] |= joins[plan[:-1], plan[1:]]
    return found
