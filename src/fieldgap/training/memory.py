"""What to say when the device has no room for a micro-batch: one that fits, found by trying."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fieldgap.base.errors import InputError

if TYPE_CHECKING:
    from fieldgap.settings.sections import Train
    from fieldgap.training.run import Run

Update = Callable[["Run", Tensor, Tensor, "Train"], Tensor]


def out_of_memory(run: Run, images: Tensor, classes: Tensor, update: Update) -> InputError:
    """Return an error that names a micro_batch for which the device has room.

    The search updates the weights, so the run cannot go on after it.

    Args:
        run: The run, which has no step left to take.
        images: The batch that did not fit, (B, bands, H, W) uint8.
        classes: Its true classes, (B, H, W) int64.
        update: Takes one step.
    """
    tried = min(run.config.micro_batch, len(images))
    fits = _first_that_fits(run, images, classes, update, tried)
    mend = f"set train.micro_batch: {fits}, which does" if fits else "set train.recompute: true or take smaller tiles"
    return InputError(f"micro_batch: {tried} tiles at once do not fit into the memory of {run.device}; {mend}")


def _first_that_fits(run: Run, images: Tensor, classes: Tensor, update: Update, size: int) -> int:
    while size := size // 2:
        run.optimizer.zero_grad()
        if images.is_cuda:
            torch.cuda.empty_cache()
        with suppress(torch.OutOfMemoryError):
            update(run, images, classes, dataclasses.replace(run.config, micro_batch=size))
            return size
    return 0
