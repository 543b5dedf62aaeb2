"""Pictures of tiles, masks and errors, in bytes that a page can hold."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fieldgap.base.labels import IGNORE
from fieldgap.report.charts.style import PALETTE

if TYPE_CHECKING:
    pass


LARGEST = 192  # px, a side of one picture: the page travels by mail.


QUALITY = 80  # of WebP


# Classes in pictures: the first, which is what no one looks for, in grey.
CLASS_COLOURS = [(110, 110, 110)] + [
    tuple(bytes.fromhex(colour[1:])) for colour in (PALETTE[4], *PALETTE[:4], PALETTE[5])
]


UNKNOWN = (235, 235, 235)


@dataclass(frozen=True)
class Picture:
    """One row of pictures, as a data URI, and what it shows in words."""

    title: str
    says: str
    source: str


def seen(image: np.ndarray) -> np.ndarray:
    """(H, W, bands) -> (H, W, 3) for the eye: the first three bands, or the only one in grey."""
    return image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, -1)


def painted(classes: np.ndarray) -> np.ndarray:
    """(H, W) classes -> (H, W, 3): a colour a class, again from the start when they run out."""
    colours = np.array([CLASS_COLOURS[i % len(CLASS_COLOURS)] for i in range(256)], np.uint8)
    colours[IGNORE] = UNKNOWN
    return colours[classes]


def strip(pictures: Sequence[np.ndarray]) -> str:
    """(H, W, 3) each -> one row of them as the data URI of a WebP file, no larger than it is looked at."""
    rows = []
    for picture in pictures:
        scale = min(1.0, LARGEST / max(picture.shape[:2]))
        size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
        rows += [cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.full((size[1], 4, 3), 255, np.uint8)]
    row = np.ascontiguousarray(np.concatenate(rows[:-1], 1)[:, :, ::-1])
    data = cv2.imencode(".webp", row, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1].tobytes()
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"
