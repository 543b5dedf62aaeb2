"""The state of a run as tensors: all that changes from step to step.

Nothing random belongs to it, because what a step draws is a function of seed, epoch and step. Neither do learning
rates, which are set anew in each step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from fieldgap.training.run import Row, Run


def tensors_of(run: Run) -> dict[str, Tensor]:
    """Return the state of a run, on the CPU. A restored state gives the same bits from then on."""
    parts: dict[str, Mapping[str, Tensor]] = {
        "net": run.net.state_dict(),
        "average": run.average.state_dict() if run.average else {},
        "best": run.best,
        "last": run.last,
        "history": _columns(run.history),
        "steps": _columns(run.steps),
    }
    for index, parameter in enumerate(_parameters(run.optimizer)):
        for name, tensor in run.optimizer.state.get(parameter, {}).items():
            parts[f"optimizer/{index}/{name}"] = {tensor.device.type: tensor}
    return stored({f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()})


def restore(run: Run, state: Mapping[str, Tensor]) -> None:
    """Bring a run at its start to the step at which `tensors_of` returned this state."""
    run.net.load_state_dict(_part(state, "net"))
    if run.average:
        run.average.load_state_dict(_part(state, "average"))
    for index, parameter in enumerate(_parameters(run.optimizer)):
        for key, tensor in _part(state, f"optimizer/{index}").items():
            name, device = key.split("/")
            run.optimizer.state[parameter][name] = _laid_out(tensor, device, parameter.detach())
    run.best, run.last = _part(state, "best"), _part(state, "last")
    run.history, run.steps = _rows(_part(state, "history")), _rows(_part(state, "steps"))


def stored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous copies on the CPU."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }


def _part(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}/"): tensor for key, tensor in state.items() if key.startswith(f"{name}/")}


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _laid_out(tensor: Tensor, device: str, parameter: Tensor) -> Tensor:
    # Torch may compute the same elements by other instructions when tensors differ in their order in memory.
    if tensor.shape == parameter.shape:
        return torch.empty_like(parameter, dtype=tensor.dtype, device=device).copy_(tensor)
    return tensor.to(device)


def _columns(rows: list[Row]) -> dict[str, Tensor]:
    # Rows have equal keys. Integers and floats come back exactly as they were.
    names = rows[0] if rows else ()
    dtypes = {name: torch.int64 if isinstance(rows[0][name], int) else torch.float64 for name in names}
    return {name: torch.tensor([row[name] for row in rows], dtype=dtype) for name, dtype in dtypes.items()}


def _rows(columns: Mapping[str, Tensor]) -> list[Row]:
    values = (column.tolist() for column in columns.values())
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]
