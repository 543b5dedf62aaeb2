"""The GPUs of this machine, shared among stages that run at once. Imports no torch, which would take seconds."""

from __future__ import annotations

import itertools
import platform
from pathlib import Path

from fieldgap.base import locks

_PLACES = Path(".fieldgap/gpu")


def least_busy(gpus: int) -> int:
    """Choose the GPU that the fewest stages of this project use, and count this process as one of its users.

    A GPU has a row of places, each a lock. A process keeps the lowest free place until it ends, so while no more than
    `gpus * n` processes run, no GPU has more than n.

    Args:
        gpus: Number of GPUs, 1 or more.

    Returns:
        The GPU's index, from 0.
    """
    folder = _PLACES / platform.node()
    places = ((gpu, place) for place in itertools.count() for gpu in range(gpus))
    return next(gpu for gpu, place in places if locks.keep(folder / f"{gpu}-{place}"))
