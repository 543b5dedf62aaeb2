"""Activations computed a second time in the backward pass instead of kept: less memory, more time, the same bits."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def blocks(net: nn.Module) -> Iterator[nn.Module]:
    """Yields the outermost modules with parameters that are items of an nn.Sequential or an nn.ModuleList."""
    for child in net.children():
        item = isinstance(net, nn.Sequential | nn.ModuleList) and not isinstance(child, nn.ModuleList | nn.ModuleDict)
        if item and any(True for _ in child.parameters()):
            yield child
        else:
            yield from blocks(child)


@contextmanager
def on_copies_of_buffers(block: nn.Module) -> Iterator[None]:
    """Within it what a block does to its buffers is lost: running statistics must not move a second time."""
    kept = [(each, name, buffer) for each in block.modules() for name, buffer in each.named_buffers(recurse=False)]
    for each, name, buffer in kept:
        setattr(each, name, buffer.clone())
    try:
        yield
    finally:
        for each, name, buffer in kept:
            setattr(each, name, buffer)


def recompute(net: nn.Module) -> None:
    """Has the blocks of `net` keep their inputs alone (Chen et al. 2016), in place; dropout draws the same again."""
    for block in blocks(net):
        block.forward = functools.partial(checkpointed, block, block.forward)


def checkpointed(block: nn.Module, forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs, **named)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), on_copies_of_buffers(block)

    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **named)
