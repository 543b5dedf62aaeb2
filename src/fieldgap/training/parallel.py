"""Several processes on one run, as torchrun starts them; one process alone is rank 0 of 1."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from fieldgap.base.errors import InputError

Part = TypeVar("Part")


def rank() -> int:
    """-> the number of this process; the one with 0 writes the files."""
    return int(os.environ.get("RANK", "0"))


def size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def together(device: torch.device) -> Iterator[None]:
    """Connects the processes: over NCCL on CUDA, else over gloo."""
    if size() == 1:
        yield
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def check_shares(tiles: int, micro_batch: int) -> None:
    """Raises InputError when the micro-batches of a batch do not suffice for all processes."""
    if -(-tiles // micro_batch) < size():
        raise InputError(
            f"micro_batch: {micro_batch} cuts {tiles} tiles into fewer parts than there are processes, {size()}; "
            f"set it to {max(1, tiles // size())} or less, or start fewer processes"
        )


def mine(parts: Sequence[Part]) -> Sequence[Part]:
    """-> this process's share: every part falls to one process."""
    return parts[rank() :: size()]


def add_up(tensors: list[Tensor]) -> None:
    """Replaces tensors of one type, in place, by their sums over all processes: the same bits in each."""
    if size() == 1:
        return
    flat = torch.cat([each.flatten() for each in tensors])
    dist.all_reduce(flat)
    for each, total in zip(tensors, flat.split([each.numel() for each in tensors]), strict=True):
        each.copy_(total.view_as(each))


def anywhere(flag: bool, device: torch.device) -> bool:
    """-> whether `flag` is set in any process, so that all of them do the same."""
    if size() == 1:
        return flag
    count = torch.tensor([float(flag)], device=device)
    add_up([count])
    return count.item() > 0
