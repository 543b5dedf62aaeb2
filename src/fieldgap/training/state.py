"""The state of a run under way, so that a killed one goes on from the step that it had reached.

A state is a safetensors file, of which nothing is executed, and its name holds the SHA-256 of its bytes. It lies
outside the declared outputs, which both engines delete before they run a stage again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from torch import Tensor

from fieldgap.base.files import replacing

if TYPE_CHECKING:
    from fieldgap.training.run import Run

STATES = Path(".fieldgap/state")
KEPT = 2
SHARE = 0.01  # Of the time, at most, goes into writing states; so a kill costs about 100 times what one write does.


def folder_of(out: Path) -> Path:
    """-> where the states of the run in `out` lie: its path from the working folder, below STATES."""
    here, path = Path.cwd(), out.absolute()
    return STATES / (path.relative_to(here) if path.is_relative_to(here) else path.relative_to(path.anchor))


def below(folder: Path, key: str, machine: Mapping[str, Any]) -> Path:
    """-> the folder of the states that a run with this key can go on from on this machine."""
    name = hashlib.sha256(f"{key} {json.dumps(machine, sort_keys=True)}".encode()).hexdigest()[:16]
    return folder / f"{name}.states"


def remove(folder: Path) -> None:
    """Removes all states of a run, also those of other keys and machines."""
    for states in folder.glob("*.states"):
        shutil.rmtree(states)


def stored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """-> copies on the CPU, each in the order of its indices."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }


def columns(rows: list[dict[str, float]]) -> dict[str, Tensor]:
    """Rows of equal keys -> a tensor a key; whole numbers and floats come back as exactly what they were."""
    names = rows[0] if rows else ()
    kinds = {name: torch.int64 if isinstance(rows[0][name], int) else torch.float64 for name in names}
    return {name: torch.tensor([row[name] for row in rows], dtype=kind) for name, kind in kinds.items()}


def rows_of(found: Mapping[str, Tensor]) -> list[dict[str, float]]:
    """Undoes columns()."""
    return [dict(zip(found, row, strict=True)) for row in zip(*(each.tolist() for each in found.values()), strict=True)]


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def tensors_of(run: Run) -> dict[str, Tensor]:
    """-> all that changes from step to step; the rates of the optimiser are set anew in each."""
    parts: dict[str, Mapping[str, Tensor]] = {
        "net": run.net.state_dict(),
        "average": run.average.state_dict() if run.average else {},
        "best": run.best,
        "last": run.last,
        "history": columns(run.history),
        "steps": columns(run.steps),
    }
    for index, parameter in enumerate(parameters_of(run.optimizer)):
        for name, tensor in run.optimizer.state.get(parameter, {}).items():
            parts[f"optimizer/{index}/{name}"] = {tensor.device.type: tensor}
    return stored({f"{part}/{name}": tensor for part, each in parts.items() for name, tensor in each.items()})


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """-> the tensors below a name."""
    return {key.removeprefix(f"{name}/"): each for key, each in tensors.items() if key.startswith(f"{name}/")}


def laid_out(tensor: Tensor, device: str, like: Tensor) -> Tensor:
    """-> the tensor on its device, and where it has the shape of a parameter also in the parameter's order in memory.

    Torch may compute the same elements by other instructions when tensors differ in that order.
    """
    if tensor.shape == like.shape:
        return torch.empty_like(like, dtype=tensor.dtype, device=device).copy_(tensor)
    return tensor.to(device)


def restore(run: Run, tensors: Mapping[str, Tensor]) -> None:
    """Brings a run at step 0 to the step whose tensors_of() these are."""
    run.net.load_state_dict(part(tensors, "net"))
    if run.average:
        run.average.load_state_dict(part(tensors, "average"))
    for index, parameter in enumerate(parameters_of(run.optimizer)):
        for key, tensor in part(tensors, f"optimizer/{index}").items():
            name, device = key.split("/")
            run.optimizer.state[parameter][name] = laid_out(tensor, device, parameter.detach())
    run.best, run.last = part(tensors, "best"), part(tensors, "last")
    run.history, run.steps = rows_of(part(tensors, "history")), rows_of(part(tensors, "steps"))


def newest(folder: Path) -> dict[str, Tensor] | None:
    """-> the tensors of the newest whole state of a folder; a truncated or changed one is named and passed over."""
    for path in sorted(folder.glob("*.safetensors"), reverse=True):
        content = path.read_bytes()
        with suppress(safetensors.SafetensorError):
            if hashlib.sha256(content).hexdigest() == path.stem.partition("-")[2]:
                return safetensors.torch.load(content)
        print(f"{path}: is damaged, so the state before it is used", file=sys.stderr, flush=True)
    return None


def write(folder: Path, step: int, tensors: dict[str, Tensor]) -> None:
    """Adds a state that outlives a power cut, then removes all but the last KEPT. Raises InputError on a full disk."""
    content = safetensors.torch.save(tensors)
    name = f"{step:09d}-{hashlib.sha256(content).hexdigest()}.safetensors"
    with replacing(folder / name) as draft, draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    for old in sorted(folder.glob("*.safetensors"))[:-KEPT]:
        old.unlink()


@dataclass
class Saver:
    """Writes the states of a run into a folder, as often as SHARE of the time allows."""

    folder: Path
    at: float
    took: float

    def save(self, run: Run) -> None:
        began = time.monotonic()
        write(self.folder, len(run.steps), tensors_of(run))
        self.at = time.monotonic()
        self.took = self.at - began

    def save_if_due(self, run: Run) -> None:
        if time.monotonic() - self.at >= self.took / SHARE:
            self.save(run)
