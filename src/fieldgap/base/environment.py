"""Where a stage runs: the commit and the packages that a result names, and the machine's cores and GPUs."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess

_PACKAGES = (
    "altair",
    "numpy",
    "opencv-python-headless",
    "pandas",
    "pillow",
    "rasterio",
    "scipy",
    "torch",
    "torchvision",
)


def commit() -> str:
    """Return the commit of the working folder, with -dirty when its files differ; "" outside git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    return ""


def packages() -> dict[str, str]:
    """Return the versions of Python and of the packages whose results may differ between versions."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in _PACKAGES}}


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu_count() -> int:
    """Return how many GPUs a stage started here would find, without importing torch.

    The driver's own program lists them, and CUDA_VISIBLE_DEVICES may hide some.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible in ("", "-1"):
        return 0
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)  # noqa: S607
    except OSError:
        return 0
    listed = sum(line.startswith("GPU ") for line in done.stdout.splitlines())
    return min(listed, len(visible.split(","))) if visible else listed
