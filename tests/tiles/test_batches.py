from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fieldgap.tiles.batches import augmented, batch
from fieldgap.tiles.packed import load

CPU = torch.device("cpu")


def test_a_batch_is_channels_last_in_memory(tiles: Path) -> None:
    images, classes = batch(load(tiles), np.array([5, 2]), CPU)
    assert images.shape == (2, 3, 32, 32)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(images[0].permute(1, 2, 0), np.load(tiles / "images.npy")[5])
    assert np.array_equal(classes[1], np.load(tiles / "masks.npy")[2])


def test_the_eight_symmetries_are_distinct_and_move_image_and_mask_together() -> None:
    square = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4).expand(8, 3, 4, 4)
    images, classes = augmented(square, square[:, 0].long(), torch.arange(8))
    assert len({tuple(image.flatten().tolist()) for image in images}) == 8
    assert torch.equal(images[:, 0].long(), classes)
    assert torch.equal(images[0], square[0])
    for image in images:
        assert sorted(image[0].flatten().tolist()) == list(range(16))
        edges = (image[0, 0].int() - image[0, 1].int()).abs()
        assert edges.tolist() in ([1] * 4, [4] * 4)  # Neighbours stay neighbours.


def test_the_augmentation_of_a_tile_does_not_depend_on_the_rest_of_its_batch() -> None:
    square = torch.arange(16).reshape(1, 1, 4, 4)
    alone, _ = augmented(square, square[:, 0], torch.tensor([5]))
    together, _ = augmented(square.expand(3, 1, 4, 4), square[:, 0].expand(3, 4, 4), torch.tensor([1, 5, 0]))
    assert torch.equal(alone[0], together[1])
