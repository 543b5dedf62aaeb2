"""Which tiles a step trains on, in what order, and how they are turned.

All of it is a function of the seed, the epoch and the step, so a training that resumes need not replay anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fieldgap.tiles.packed import Tiles

if TYPE_CHECKING:
    from fieldgap.settings.sections import Train


def seeded_generator(*numbers: int) -> torch.Generator:
    """Return a generator that depends on these numbers only.

    Trainings pass the seed and the epoch, where epoch 0 draws the initial weights, and for a step its number from 1.
    """
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


def fixed_subset(train: np.ndarray, size: int) -> np.ndarray:
    """Return `size` training tiles, evenly spaced and the same in each epoch and run, or all if there are fewer."""
    return train[np.linspace(0, len(train) - 1, min(size, len(train))).astype(int)]


def tiles_per_step(config: Train, train: np.ndarray) -> int:
    """Return the batch size in tiles; `full` is the whole training split."""
    return len(train) if config.batch_size == "full" else int(config.batch_size)


def steps_per_epoch(config: Train, train: np.ndarray) -> int:
    """Return the number of batches that contain all training tiles; the last one may be smaller."""
    return -(-len(train) // tiles_per_step(config, train))


def batches(
    tiles: Tiles, train: np.ndarray, config: Train, epoch: int, device: torch.device, first: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffle and augment the training tiles of one epoch, from step `first` on.

    Torch's global generator, from which dropout draws, is seeded anew for each step.

    Yields:
        Images (B, bands, H, W) in uint8 and class indices (B, H, W) in int64.
    """
    generator = seeded_generator(config.seed, epoch)
    order = torch.randperm(len(train), generator=generator).numpy()
    symmetry = torch.randint(8, (len(train),), generator=generator).numpy()
    size = tiles_per_step(config, train)
    for step in range(first, steps_per_epoch(config, train)):
        chosen = order[step * size : (step + 1) * size]
        images, classes = batch(tiles, train[chosen], device)
        if config.augment:
            images, classes = augmented(images, classes, _send(symmetry[chosen], device))
        torch.manual_seed(seeded_generator(config.seed, epoch, step + 1).initial_seed())
        yield images, classes


def batch(tiles: Tiles, indices: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return images (B, bands, H, W) in uint8, channels last in memory, and class indices (B, H, W) in int64."""
    return _send(tiles.images[indices], device).permute(0, 3, 1, 2), _send(tiles.masks[indices], device).long()


def _send(values: np.ndarray, device: torch.device) -> Tensor:
    """Return the values on a device; the host does not wait until they are on a GPU."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def augmented(images: Tensor, classes: Tensor, symmetry: Tensor) -> tuple[Tensor, Tensor]:
    """Return square tiles turned and mirrored, each by one of the 8 symmetries of the square.

    Args:
        images: Pixels (B, bands, H, H).
        classes: Class indices (B, H, H).
        symmetry: For each tile (B,) a number from 0 to 7: bit 0 mirrors left and right, bit 1 up and down, and bit 2
            transposes.
    """
    for bit, move in enumerate((lambda t: t.flip(-1), lambda t: t.flip(-2), lambda t: t.mT)):
        chosen = (symmetry >> bit & 1).bool()
        images = torch.where(chosen[:, None, None, None], move(images), images)
        classes = torch.where(chosen[:, None, None], move(classes), classes)
    return images, classes
