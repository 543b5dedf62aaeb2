"""Which tiles a step trains on, in what order, turned how: functions of the seed, the epoch and the step alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fieldgap.tiles.packed import Tiles

if TYPE_CHECKING:
    from fieldgap.settings.sections import Train


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
        images, classes = batch(tiles, train[chosen], device)
        if config.augment:
            images, classes = augmented(images, classes, sent(symmetry[chosen], device))
        torch.manual_seed(draws(config.seed, epoch, step + 1).initial_seed())
        yield images, classes


def sent(values: np.ndarray, device: torch.device) -> Tensor:
    """-> the values on a device; the host does not wait until they are on a GPU."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def batch(tiles: Tiles, indices: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """-> images (B, bands, H, W) uint8, channels last in memory, and classes (B, H, W) int64."""
    return sent(tiles.images[indices], device).permute(0, 3, 1, 2), sent(tiles.masks[indices], device).long()


def augmented(images: Tensor, classes: Tensor, symmetry: Tensor) -> tuple[Tensor, Tensor]:
    """Turns and mirrors square tiles, each by its own of the 8 symmetries of the square.

    images (B, bands, H, H), classes (B, H, H), symmetry (B,) with values 0 to 7: bit 0 mirrors left and right, bit 1 up
    and down, bit 2 transposes.
    """
    for bit, move in enumerate((lambda t: t.flip(-1), lambda t: t.flip(-2), lambda t: t.mT)):
        chosen = (symmetry >> bit & 1).bool()
        images = torch.where(chosen[:, None, None, None], move(images), images)
        classes = torch.where(chosen[:, None, None], move(classes), classes)
    return images, classes
