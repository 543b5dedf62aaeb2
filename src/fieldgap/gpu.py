"""Whether this machine has a GPU, for engines to share it out. Loads no torch, which would take seconds to say so."""

from __future__ import annotations

import os
import subprocess


def visible() -> bool:
    """-> whether a stage that starts here would find a GPU, as the driver's own program tells."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)  # noqa: S607
    except OSError:
        return False
    return done.stdout.startswith("GPU ")
