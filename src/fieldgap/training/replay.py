"""Forward and backward pass of whole batches as a CUDA graph, so that a small network does not wait for launches."""

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

FIRST = 3  # Batches that are computed one by one, while libraries load and choose the kernels to record.
_SHARE = 0.1  # Of the free memory. A graph keeps the memory of a step to itself, so the run needs twice that of a step.


def replayable(config: Train, device: torch.device) -> bool:
    """Return whether each step launches the same work. Of a foreign network or loss, nobody knows."""
    known = config.model == "unet" and ":" not in config.loss
    return device.type == "cuda" and known and not config.recompute and parallel.size() == 1


class Replay:
    """Computes what `gradients` does, with the same bits, and replays that work once it has done it a few times.

    Batches of another size are computed one by one, and all of them are when CUDA cannot record the work.
    """

    def __init__(self, size: int) -> None:
        """Prepare to replay batches of `size` tiles."""
        self.size = size
        self.seen = 0
        self.replay: Callable[[Tensor, Tensor], Tensor] | None = None

    def __call__(self, net: nn.Module, loss: Loss, images: Tensor, classes: Tensor, config: Train) -> Tensor:
        """Set the gradients of a batch's loss, and return that loss, as `gradients` does."""
        if len(images) == self.size <= config.micro_batch:
            if self.seen == FIRST and _fits(images.device):
                self.replay = self.record(net, loss, images, classes, config)
            self.seen += 1
            if self.replay:
                return self.replay(images, classes)
        return gradients(net, loss, images, classes, config)

    def record(
        self, net: nn.Module, loss: Loss, images: Tensor, classes: Tensor, config: Train
    ) -> Callable[[Tensor, Tensor], Tensor] | None:
        """Return a function that sets the gradients of another batch and returns its loss; None if CUDA refuses."""
        inputs = images.clone(), classes.clone()
        try:
            result, computed, replay_graph = recorded(net, lambda: gradients(net, loss, *inputs, config))
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            print(f"no CUDA graph, so steps are slower: {reason}", file=sys.stderr, flush=True)
            net.zero_grad()
            return None

        def replay(*batch: Tensor) -> Tensor:
            for place, tensor in zip(inputs, batch, strict=True):
                place.copy_(tensor)
            replay_graph()
            for parameter, gradient in zip(net.parameters(), computed, strict=True):
                parameter.grad = gradient
            return result.clone()

        return replay


def recorded(net: nn.Module, work: Callable[[], Tensor]) -> tuple[Tensor, list[Tensor | None], Callable[[], None]]:
    """Record a CUDA graph.

    Args:
        net: The network. Its gradients are unset, so that the graph sets them rather than adds to them.
        work: Computes a loss and its gradients.

    Returns:
        The loss, the gradients of the parameters, and a function that computes both in place. Until that is called
        they are undefined.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = work()
    return loss, [parameter.grad for parameter in net.parameters()], graph.replay


def _fits(device: torch.device) -> bool:
    return torch.cuda.max_memory_allocated(device) <= _SHARE * torch.cuda.mem_get_info(device)[0]
