"""The gradients of one batch: micro-batch by micro-batch, and shared among processes where there are several."""

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


def statistics(net: nn.Module) -> list[Tensor]:
    """-> what norms keep beside their parameters: running means, running variances, and how often these moved."""
    names = ("running_mean", "running_var", "num_batches_tracked")
    return [tensor for name, tensor in net.named_buffers() if name.endswith(names)]


def micro_batches(images: Tensor, classes: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields this process's share of a batch in micro-batches."""
    parts = list(zip(images.split(size), classes.split(size), strict=True))
    seed = torch.initial_seed()
    for index in parallel.mine(range(len(parts))):
        torch.manual_seed(seed + index)  # Dropout must not depend on which process has which share.
        yield parts[index]


def add_up_gradients(net: nn.Module) -> None:
    """Sums the gradients over all processes; a parameter that none of them reached stays without."""
    reached = torch.tensor([float(p.grad is not None) for p in net.parameters()], device=next(net.parameters()).device)
    parallel.add_up([reached])
    learning = [p for p, count in zip(net.parameters(), reached.tolist(), strict=True) if count]
    for parameter in learning:
        if parameter.grad is None:  # The last batch of an epoch may have no share for this process.
            parameter.grad = torch.zeros_like(parameter)
    parallel.add_up([p.grad for p in learning if p.grad is not None])


def gradients(net: nn.Module, loss: Loss, images: Tensor, classes: Tensor, config: Train) -> Tensor:
    """Adds the gradients of a batch's loss to those of `net` -> the loss, a float64: the mean over micro-batches.

    Each counts by its known pixels, so that is the loss of the whole batch where it is a mean over pixels. A loss such
    as Dice, and the normalisation of BatchNorm, see one micro-batch at a time. Running statistics move once a batch, by
    the mean over its micro-batches.
    """
    one = config.micro_batch >= len(images) and parallel.size() == 1
    kept = [] if one else statistics(net)
    before, moved = [each.clone() for each in kept], [each.new_zeros(each.shape, dtype=torch.float64) for each in kept]
    total = torch.zeros((), dtype=torch.float64, device=images.device)
    known = (classes != IGNORE).sum().clamp_min(1)
    for part, truth in micro_batches(images, classes, config.micro_batch):
        with precision_context(images.device, config.precision):
            logits = net(part)
        value = loss(logits, truth) * ((truth != IGNORE).sum() / known)
        value.backward()
        total += value.detach()
        for now, old, mean in zip(kept, before, moved, strict=True):
            mean.add_(now.double(), alpha=len(part) / len(images))
            now.copy_(old)
    if parallel.size() > 1:
        parallel.add_up([total, *moved])
        add_up_gradients(net)
    for now, mean in zip(kept, moved, strict=True):
        now.copy_(mean if now.is_floating_point() else mean.round())
    return total
