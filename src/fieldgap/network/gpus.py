"""The GPUs of this machine, and how stages that run at once share them. Loads no torch, which would take seconds."""

from __future__ import annotations

import itertools
import platform
from pathlib import Path

from fieldgap.base.locks import lock

PLACES = Path(".fieldgap/gpu")


def least_busy(gpus: int) -> int:
    """-> the one of `gpus`, counted from 0, with the lowest free place, which is this process's until it ends.

    While no more than `gpus` times n processes of the project ask on this machine, none of the GPUs has more than n.
    """
    folder = PLACES / platform.node()
    for place in itertools.count():
        for gpu in range(gpus):
            if lock(folder / f"{gpu}-{place}") is not None:
                return gpu
    raise AssertionError  # Places never end.
