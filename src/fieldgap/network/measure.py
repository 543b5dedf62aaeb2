"""Measure a network on a split: in eval mode, without augmentation, all counts summed before any ratio.

Training and evaluation measure with this code, so that their metrics can be subtracted from each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fieldgap.base.labels import IGNORE
from fieldgap.base.scores import scores
from fieldgap.network.device import precision_context
from fieldgap.tiles.batches import batch

if TYPE_CHECKING:
    from fieldgap.parts.losses import Loss
    from fieldgap.tiles.packed import Tiles

Watch = Callable[[np.ndarray, Tensor, Tensor], None]
BATCH = 32  # Bounds memory. Predictions do not depend on it in eval mode, but losses of a whole batch, like Dice, do.


def confusions(truth: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Return the confusion matrix of each tile, without the pixels whose true class is IGNORE.

    Args:
        truth: Class indices (B, H, W).
        predicted: Class indices (B, H, W).
        classes: Number of classes, C.

    Returns:
        Pixel counts (B, C, C), truth by prediction.
    """
    tile = torch.arange(len(truth), device=truth.device)[:, None, None]
    cells = (tile * classes + truth) * classes + predicted
    return torch.bincount(cells[truth != IGNORE], minlength=len(truth) * classes**2).reshape(-1, classes, classes)


@torch.inference_mode()
def predictions(
    net: nn.Module, tiles: Tiles, indices: np.ndarray, device: torch.device, precision: str
) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """Predict some tiles in eval mode, batch by batch.

    Yields:
        The indices (B,) of a batch, its logits (B, C, H, W) and its true classes (B, H, W).
    """
    training = net.training
    net.eval()
    for start in range(0, len(indices), BATCH):
        chosen = indices[start : start + BATCH]
        images, truth = batch(tiles, chosen, device)
        with precision_context(device, precision):
            logits = net(images)
        yield chosen, logits, truth
    net.train(training)


@torch.inference_mode()  # Also for a loss that changes logits in place.
def measure(
    net: nn.Module,
    tiles: Tiles,
    indices: np.ndarray,
    loss: Loss,
    device: torch.device,
    precision: str,
    watch: Watch = lambda chosen, logits, truth: None,
) -> dict[str, float]:
    """Return the loss and all scores of some tiles.

    The loss is the mean over batches, weighted by their pixels of known class.

    Args:
        net: Maps images (B, bands, H, W) to logits (B, C, H, W). Its mode, train or eval, is restored.
        tiles: The packed tiles.
        indices: The tiles (N,) to measure.
        loss: Maps logits and true classes to a scalar.
        device: Where `net` is.
        precision: `fp32`, or `bf16` for autocast.
        watch: Is called with each batch of `predictions`, before the loss is.
    """
    classes = len(tiles.classes)
    confusion, total = torch.zeros(classes, classes, dtype=torch.int64), 0.0
    for chosen, logits, truth in predictions(net, tiles, indices, device, precision):
        watch(chosen, logits, truth)
        counts = confusions(truth, logits.argmax(1), classes).sum(0).cpu()
        confusion += counts
        total += loss(logits, truth).item() * int(counts.sum())
    return {"loss": total / max(int(confusion.sum()), 1), **scores(confusion.numpy())}
