"""Activations computed again in the backward pass instead of kept: less memory, more time, the same bits."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(net: nn.Module) -> None:
    """Make the blocks of a network keep only their inputs for the backward pass (Chen et al. 2016), in place.

    Dropout draws the same values again.
    """
    for block in blocks(net):
        block.forward = functools.partial(_checkpointed, block, block.forward)


def blocks(net: nn.Module) -> Iterator[nn.Module]:
    """Yield the outermost modules with parameters that are items of an nn.Sequential or an nn.ModuleList."""
    for child in net.children():
        item = isinstance(net, nn.Sequential | nn.ModuleList) and not isinstance(child, nn.ModuleList | nn.ModuleDict)
        if item and any(True for _ in child.parameters()):
            yield child
        else:
            yield from blocks(child)


def _checkpointed(block: nn.Module, forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs, **named)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _on_copies_of_buffers(block)

    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **named)


@contextmanager
def _on_copies_of_buffers(block: nn.Module) -> Iterator[None]:
    # Running statistics must not move a second time.
    kept = [(owner, name, buffer) for owner in block.modules() for name, buffer in owner.named_buffers(recurse=False)]
    for owner, name, buffer in kept:
        setattr(owner, name, buffer.clone())
    try:
        yield
    finally:
        for owner, name, buffer in kept:
            setattr(owner, name, buffer)
