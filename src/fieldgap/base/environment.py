"""What made a result, beside its inputs: the commit of the working folder and the packages that count."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess

PACKAGES = (
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
    """-> the commit of the working folder, marked -dirty when its files differ; "" outside git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    return ""


def packages() -> dict[str, str]:
    """-> the versions of Python and of the packages whose results may differ from version to version."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


def cores() -> int:
    """-> how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu_count() -> int:
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
