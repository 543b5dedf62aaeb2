"""Which tiles a step trains on, in what order, turned how: functions of the seed, the epoch and the step alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fieldgap.tiles import Tiles, augmented, sent

if TYPE_CHECKING:
    from fieldgap.sections import Train


def draws(*numbers: int) -> torch.Generator:
    """-> randomness that depends on these numbers alone: (seed, epoch), where epoch 0 starts the weights, or more."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


def fixed_subset(train: np.ndarray, size: int) -> np.ndarray:
    """-> `size` training tiles, evenly spaced, the same in each epoch and run; all of them when there are fewer."""
    return train[np.linspace(0, len(train) - 1, min(size, len(train))).astype(int)]


def tiles_a_step(config: Train, train: np.ndarray) -> int:
    """-> the batch size in tiles; `full` is the whole training split."""
    return len(train) if config.batch_size == "full" else int(config.batch_size)


def steps_an_epoch(config: Train, train: np.ndarray) -> int:
    """-> how many batches hold all training tiles; the last one holds the rest."""
    return -(-len(train) // tiles_a_step(config, train))


def batches(
    tiles: Tiles, train: np.ndarray, config: Train, epoch: int, device: torch.device, first: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields one epoch of shuffled, augmented batches from its step `first` on.

    Torch's global generator, from which dropout draws, is seeded anew for each.
    """
    generator = draws(config.seed, epoch)
    order = torch.randperm(len(train), generator=generator).numpy()
    symmetry = torch.randint(8, (len(train),), generator=generator).numpy()
    size = tiles_a_step(config, train)
    for step in range(first, steps_an_epoch(config, train)):
        chosen = order[step * size : (step + 1) * size]
        images, classes = tiles.batch(train[chosen], device)
        if config.augment:
            images, classes = augmented(images, classes, sent(symmetry[chosen], device))
        torch.manual_seed(draws(config.seed, epoch, step + 1).initial_seed())
        yield images, classes
