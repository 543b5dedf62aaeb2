"""Several processes on one run, as torchrun starts them. A process alone has rank 0 of 1."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from fieldgap.base.errors import InputError

T = TypeVar("T")


def rank() -> int:
    """Return the number of this process, from 0. The first process writes the files."""
    return int(os.environ.get("RANK", "0"))


def size() -> int:
    """Return the number of processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def together(device: torch.device) -> Iterator[None]:
    """Connect the processes within the block, over NCCL on CUDA and over gloo elsewhere."""
    if size() == 1:
        yield
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def in_first(context: AbstractContextManager[T]) -> AbstractContextManager[T | None]:
    """Return the context in the first process, and one that does nothing in the others."""
    return context if rank() == 0 else nullcontext()


def check_shares(tiles: int, micro_batch: int) -> None:
    """Check that each process gets a micro-batch of a batch.

    Args:
        tiles: Tiles in a batch.
        micro_batch: Tiles in a micro-batch, at most.

    Raises:
        InputError: There are more processes than micro-batches.
    """
    if -(-tiles // micro_batch) < size():
        raise InputError(
            f"micro_batch: {micro_batch} cuts {tiles} tiles into fewer parts than there are processes, {size()}; "
            f"set it to {max(1, tiles // size())} or less, or start fewer processes"
        )


def share(parts: Sequence[T]) -> Sequence[T]:
    """Return the parts that this process computes. Each part falls to one process."""
    return parts[rank() :: size()]


def add_up(tensors: list[Tensor]) -> None:
    """Replace tensors of one dtype in place by their sums over all processes, which get the same bits."""
    if size() == 1:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(total.view_as(tensor))


def anywhere(flag: bool, device: torch.device) -> bool:
    """Return whether `flag` is true in any process. All processes must call it, and get the same answer."""
    if size() == 1:
        return flag
    count = torch.tensor([float(flag)], device=device)
    add_up([count])
    return count.item() > 0


def wait(device: torch.device) -> None:
    """Wait until all processes have called this."""
    anywhere(False, device)
