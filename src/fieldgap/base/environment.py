"""What made a result, beside its inputs: the commit of the working folder and the packages that count."""

from __future__ import annotations

import contextlib
import importlib.metadata
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
