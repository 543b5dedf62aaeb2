"""Pictures of tiles, masks and errors, as bytes that a page can hold."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fieldgap.base.labels import IGNORE
from fieldgap.report.charts.style import PALETTE

LARGEST = 192  # px along the longer side of a picture: the page must fit into a mail.
QUALITY = 80  # Of WebP.
SPACING = 4  # px between pictures.
UNKNOWN = (235, 235, 235)
BACKGROUND = (110, 110, 110)
CLASS_COLOURS = [BACKGROUND, *(tuple(bytes.fromhex(PALETTE[i][1:])) for i in (4, 0, 1, 2, 3, 5))]


@dataclass(frozen=True)
class Picture:
    """One row of pictures.

    Attributes:
        title: What they are of.
        caption: What they show.
        source: A data URI.
    """

    title: str
    caption: str
    source: str


def visible(image: np.ndarray) -> np.ndarray:
    """Return colours (H, W, 3) of an image (H, W, bands): the first three bands, or the first one in grey."""
    return image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, -1)


def painted(classes: np.ndarray) -> np.ndarray:
    """Return colours (H, W, 3) of classes (H, W), starting again when CLASS_COLOURS run out."""
    colours = np.array([CLASS_COLOURS[i % len(CLASS_COLOURS)] for i in range(256)], np.uint8)
    colours[IGNORE] = UNKNOWN
    return colours[classes]


def strip(pictures: Sequence[np.ndarray]) -> str:
    """Return pictures (H, W, 3) in one row, shrunk to LARGEST, as the data URI of a WebP file."""
    parts = []
    for picture in pictures:
        scale = min(1.0, LARGEST / max(picture.shape[:2]))
        size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
        space = np.full((size[1], SPACING, 3), 255, np.uint8)
        parts += [cv2.resize(picture, size, interpolation=cv2.INTER_AREA), space]
    row = np.ascontiguousarray(np.concatenate(parts[:-1], 1)[:, :, ::-1])
    data = cv2.imencode(".webp", row, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1].tobytes()
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"
