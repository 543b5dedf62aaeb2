"""Stages as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import ROOT, TINY
from killed import OUT

from fieldgap.settings.params import flags
from fieldgap.training.checkpoints import root_of


def command(tiles: Path, out: Path, **values: Any) -> list[str]:
    """Return the words that train TINY with other values, after the name of the interpreter."""
    words = flags({**vars(TINY), "options": {"SGD": {"momentum": 0.9}}, **values})
    return ["-m", "fieldgap", "train", "--tiles", str(tiles), "--out", str(out), *words.split()]


def started(arguments: list[str], **options: Any) -> subprocess.Popen[str]:
    """Start the interpreter on the sources of this checkout."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen([sys.executable, *arguments], env=env, stderr=subprocess.PIPE, text=True, **options)


def wait_until(holds: Callable[[], Any], what: str = "what was awaited") -> None:
    """Wait for at most a minute."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, f"{what} did not happen within a minute"
        time.sleep(0.01)


def under_way() -> bool:
    """Return whether the run in OUT has written a checkpoint."""
    return any(root_of(OUT).rglob("*.safetensors"))
