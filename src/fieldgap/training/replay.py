"""Forward and backward pass of whole batches as a CUDA graph: kernel by kernel a small network waits for launches."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fieldgap.training import parallel
from fieldgap.training.gradients import gradients

if TYPE_CHECKING:
    from fieldgap.parts.losses import Loss
    from fieldgap.settings.sections import Train

FIRST = 3  # Batches that are computed one by one, while libraries load and choose what is then recorded.
SHARE = 0.1  # Of the memory that is free. A graph keeps to itself what a step takes, so all together take it twice.


def replayable(config: Train, device: torch.device) -> bool:
    """-> whether a step does the same to other numbers each time, which of a foreign network or loss nobody knows."""
    known = config.model == "unet" and ":" not in config.loss
    return device.type == "cuda" and known and not config.recompute and parallel.size() == 1


def fits(device: torch.device) -> bool:
    """-> whether what this process has needed so far is at most SHARE of the memory that no process uses now."""
    return torch.cuda.max_memory_allocated(device) <= SHARE * torch.cuda.mem_get_info(device)[0]


def recorded(net: nn.Module, work: Callable[[], Tensor]) -> tuple[Tensor, list[Tensor | None], Callable[[], None]]:
    """-> the loss that `work` would return, the gradients of `net`, and what computes all of them in place.

    Nothing is computed before that is called. Gradients must be unset, so that it sets them rather than adds to them.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = work()
    return loss, [parameter.grad for parameter in net.parameters()], graph.replay


class Replay:
    """gradients(), which replays its work on batches of `size` tiles once it has done some: the same bits, sooner.

    Batches of another size, and all when CUDA cannot record the work, which it then says, are computed one by one.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.seen = 0
        self.replay: Callable[[Tensor, Tensor], Tensor] | None = None

    def __call__(self, net: nn.Module, loss: Loss, images: Tensor, classes: Tensor, config: Train) -> Tensor:
        if len(images) == self.size <= config.micro_batch:
            if self.seen == FIRST and fits(images.device):
                self.replay = self.record(net, loss, images, classes, config)
            self.seen += 1
            if self.replay:
                return self.replay(images, classes)
        return gradients(net, loss, images, classes, config)

    def record(
        self, net: nn.Module, loss: Loss, images: Tensor, classes: Tensor, config: Train
    ) -> Callable[[Tensor, Tensor], Tensor] | None:
        """-> what replays a batch: its images and classes -> its loss, gradients of `net` set; None if CUDA refuses."""
        inputs = images.clone(), classes.clone()
        try:
            result, computed, again = recorded(net, lambda: gradients(net, loss, *inputs, config))
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            print(f"no CUDA graph, so steps are slower: {reason}", file=sys.stderr, flush=True)
            net.zero_grad()
            return None

        def replay(*batch: Tensor) -> Tensor:
            for place, given in zip(inputs, batch, strict=True):
                place.copy_(given)
            again()
            for parameter, gradient in zip(net.parameters(), computed, strict=True):
                parameter.grad = gradient
            return result.clone()

        return replay
