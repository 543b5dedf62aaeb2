"""The gradients of a batch: added up over its micro-batches, and over the processes that share them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fieldgap.base.labels import IGNORE
from fieldgap.network.device import precision_context
from fieldgap.training import parallel

if TYPE_CHECKING:
    from fieldgap.parts.losses import Loss
    from fieldgap.settings.sections import Train


def gradients(net: nn.Module, loss: Loss, images: Tensor, classes: Tensor, config: Train) -> Tensor:
    """Add the gradients of a batch's loss to those of the network.

    The loss is the mean over micro-batches, each weighted by its known pixels. So it is the loss of the whole batch
    where that is a mean over pixels, while a loss such as Dice, and the normalisation of BatchNorm, see one micro-batch
    at a time. Running statistics move once per batch, by the mean over its micro-batches.

    Args:
        net: The network, in training mode.
        loss: Maps logits and true classes to a scalar.
        images: (B, bands, H, W) uint8.
        classes: (B, H, W) int64.
        config: Gives the size of micro-batches and the precision.

    Returns:
        The loss, a float64.
    """
    undivided = config.micro_batch >= len(images) and parallel.size() == 1
    statistics = [] if undivided else _statistics(net)
    before = [statistic.clone() for statistic in statistics]
    means = [statistic.new_zeros(statistic.shape, dtype=torch.float64) for statistic in statistics]
    total = torch.zeros((), dtype=torch.float64, device=images.device)
    known = (classes != IGNORE).sum().clamp_min(1)
    for part, truth in _micro_batches(images, classes, config.micro_batch):
        with precision_context(images.device, config.precision):
            logits = net(part)
        value = loss(logits, truth) * ((truth != IGNORE).sum() / known)
        value.backward()
        total += value.detach()
        for statistic, old, mean in zip(statistics, before, means, strict=True):
            mean.add_(statistic.double(), alpha=len(part) / len(images))
            statistic.copy_(old)
    if parallel.size() > 1:
        parallel.add_up([total, *means])
        _add_up_gradients(net)
    for statistic, mean in zip(statistics, means, strict=True):
        statistic.copy_(mean if statistic.is_floating_point() else mean.round())
    return total


def _statistics(net: nn.Module) -> list[Tensor]:
    names = ("running_mean", "running_var", "num_batches_tracked")
    return [tensor for name, tensor in net.named_buffers() if name.endswith(names)]


def _micro_batches(images: Tensor, classes: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    parts = list(zip(images.split(size), classes.split(size), strict=True))
    seed = torch.initial_seed()
    for index in parallel.share(range(len(parts))):
        torch.manual_seed(seed + index)  # Dropout must not depend on which process computes which part.
        yield parts[index]


def _add_up_gradients(net: nn.Module) -> None:
    # A parameter that no process reached stays without a gradient, so that the optimiser passes over it.
    reached = torch.tensor([float(p.grad is not None) for p in net.parameters()], device=next(net.parameters()).device)
    parallel.add_up([reached])
    learning = [p for p, count in zip(net.parameters(), reached.tolist(), strict=True) if count]
    for parameter in learning:
        if parameter.grad is None:  # The last batch of an epoch may have no share for this process.
            parameter.grad = torch.zeros_like(parameter)
    parallel.add_up([p.grad for p in learning if p.grad is not None])
