"""What a run's result depends on: parameters, tiles and code as one key, and beside it what the machine adds."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fieldgap.outputs import TILES
from fieldgap.parts import own_sources
from fieldgap.sources import code, digest

if TYPE_CHECKING:
    from fieldgap.sections import Train


def key_of(config: Train, tiles: Path) -> str:
    """-> 64 hexadecimal digits of all parameters, the bytes of the tiles, and the sources of stage train.

    The user's own parts count by their files. The same inputs give the same key on every machine.
    """
    own = [
        Path(path) for name in (config.init, config.schedule, config.loss, config.model) for path in own_sources(name)
    ]
    parts = {
        "parameters": dataclasses.asdict(config),
        "tiles": {name: digest(tiles / name) for name in TILES},
        "sources": code("train"),
        "own": {path.as_posix(): digest(path) for path in own},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def machine(device: torch.device) -> dict[str, Any]:
    """-> what two machines may differ in while key_of() is the same: bytes repeat where all of this does."""
    on_cuda = device.type == "cuda"
    return {
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(device) if on_cuda else "cpu",
        "cuda": torch.version.cuda if on_cuda else None,
        "cudnn": torch.backends.cudnn.version() if on_cuda else None,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
    }
