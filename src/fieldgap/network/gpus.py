"""The GPUs of this machine, and how stages that run at once share them. Loads no torch, which would take seconds."""

from __future__ import annotations

import itertools
import os
import platform
import subprocess
from pathlib import Path

from fieldgap.claim import lock

PLACES = Path(".fieldgap/gpu")


def count() -> int:
    """-> how many GPUs a stage that starts here would find, by the driver's own program and CUDA_VISIBLE_DEVICES."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen in ("", "-1"):
        return 0
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)  # noqa: S607
    except OSError:
        return 0
    listed = sum(line.startswith("GPU ") for line in done.stdout.splitlines())
    return min(listed, len(chosen.split(","))) if chosen else listed


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
