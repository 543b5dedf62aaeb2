"""One measure for every split and every epoch: eval mode, no augmentation, counts summed before any ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fieldgap.device import precision_context
from fieldgap.losses import loss_named

if TYPE_CHECKING:
    from fieldgap.losses import Loss
    from fieldgap.settings import Train
    from fieldgap.tiles import Tiles

BATCH = 32  # Bounds memory. In eval mode no prediction depends on it, but a loss of a whole batch, such as Dice, does.


def loss_of(config: Train, tiles: Tiles) -> Loss:
    """-> the loss of a configuration, with class weights from the training pixels where it asks for balanced ones."""
    options = config.options
    if config.balanced:
        weights = tiles.balanced_weights(tiles.training(config.train_share), classes=2)
        options = {name: {**each, "weights": weights} if "weights" in each else each for name, each in options.items()}
    return loss_named(config.loss, options)


def ratio(part: float, whole: float, otherwise: float) -> float:
    return part / whole if whole else otherwise


def scores(confusion: np.ndarray) -> dict[str, float]:
    """(2, 2) pixel counts, truth by prediction, of background (0) and farmland (1) -> each metric in [0, 1].

    A class that is neither there nor predicted scores 1: nothing was missed and nothing invented. Precision is 0 when
    nothing was predicted though farmland is there, and recall is 0 when farmland was predicted though none is there.
    """
    (tn, fp), (fn, tp) = confusion.tolist()
    iou = ratio(tp, tp + fp + fn, 1.0)
    background_iou = ratio(tn, tn + fp + fn, 1.0)
    return {
        "accuracy": ratio(tp + tn, tp + tn + fp + fn, 1.0),
        "iou": iou,
        "background_iou": background_iou,
        "mean_iou": (iou + background_iou) / 2,
        "dice": ratio(2 * tp, 2 * tp + fp + fn, 1.0),
        "precision": ratio(tp, tp + fp, 0.0 if fn else 1.0),
        "recall": ratio(tp, tp + fn, 0.0 if fp else 1.0),
    }


def confusion_of(predicted: Tensor, truth: Tensor, classes: int) -> Tensor:
    """(...) class indices twice -> (classes, classes) counts, truth by prediction."""
    pairs = truth.flatten() * classes + predicted.flatten()
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def measure(
    net: nn.Module, tiles: Tiles, indices: np.ndarray, loss: Loss, device: torch.device, precision: str
) -> dict[str, float]:
    """-> the loss, averaged over batches, and all scores over the tiles `indices`, with `net` in eval mode."""
    training = net.training
    net.eval()
    confusion, total = torch.zeros(2, 2, dtype=torch.int64), 0.0
    with torch.inference_mode():
        for start in range(0, len(indices), BATCH):
            images, truth = tiles.batch(indices[start : start + BATCH], device)
            with precision_context(device, precision):
                logits = net(images)
            total += loss(logits, truth).item() * len(images)
            confusion += confusion_of(logits.argmax(1), truth, 2).cpu()
    net.train(training)
    return {"loss": total / len(indices), **scores(confusion.numpy())}


def gaps(train: dict[str, float], held_out: dict[str, float]) -> dict[str, float]:
    """-> held-out error minus training error for each metric; error = 1 - metric, and the loss is its own error."""
    return {k: held_out[k] - train[k] if k == "loss" else train[k] - held_out[k] for k in train}
