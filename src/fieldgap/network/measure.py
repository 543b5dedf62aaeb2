"""One measure for every split and every epoch: eval mode, no augmentation, counts summed before any ratio."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fieldgap.base.labels import IGNORE
from fieldgap.network.device import precision_context
from fieldgap.tiles.batches import batch

if TYPE_CHECKING:
    from fieldgap.parts.losses import Loss
    from fieldgap.tiles.packed import Tiles

Watch = Callable[[np.ndarray, Tensor, Tensor], None]
BATCH = 32  # Bounds memory. In eval mode no prediction depends on it, but a loss of a whole batch, such as Dice, does.


def ratio(part: float, whole: float, otherwise: float) -> float:
    return part / whole if whole else otherwise


def class_scores(confusion: np.ndarray, index: int) -> dict[str, float]:
    """-> iou, dice, precision and recall of one class.

    A class that is neither there nor predicted scores 1: nothing was missed and nothing invented. Precision is 0 when
    nothing was predicted though the class is there, and recall is 0 when it was predicted though none is there.
    """
    tp = int(confusion[index, index])
    fp, fn = int(confusion[:, index].sum()) - tp, int(confusion[index].sum()) - tp
    return {
        "iou": ratio(tp, tp + fp + fn, 1.0),
        "dice": ratio(2 * tp, 2 * tp + fp + fn, 1.0),
        "precision": ratio(tp, tp + fp, 0.0 if fn else 1.0),
        "recall": ratio(tp, tp + fn, 0.0 if fp else 1.0),
    }


def scores(confusion: np.ndarray) -> dict[str, float]:
    """(K, K) pixel counts, truth by prediction, the background first -> each metric in [0, 1].

    iou, dice, precision and recall are means over the classes after the background; of two classes they are farmland's
    own. mean_iou is the mean over all classes.
    """
    each = [class_scores(confusion, index) for index in range(len(confusion))]
    mean = {name: math.fsum(row[name] for row in each[1:]) / len(each[1:]) for name in each[0]}
    ious = [row["iou"] for row in each]
    return {
        "accuracy": ratio(int(np.trace(confusion)), int(confusion.sum()), 1.0),
        "iou": mean["iou"],
        "background_iou": ious[0],
        "mean_iou": math.fsum(ious) / len(ious),
        "dice": mean["dice"],
        "precision": mean["precision"],
        "recall": mean["recall"],
    }


def confusion_of(predicted: Tensor, truth: Tensor, classes: int) -> Tensor:
    """(...) class indices twice -> (classes, classes) counts, truth by prediction; IGNORE in truth is left out."""
    known = truth != IGNORE
    pairs = truth[known] * classes + predicted[known]
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)


@torch.inference_mode()
def predictions(
    net: nn.Module, tiles: Tiles, indices: np.ndarray, device: torch.device, precision: str
) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """Yields for each batch its tiles, their logits (B, C, H, W) and true classes (B, H, W), in eval mode."""
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
    """-> the loss, batches weighted by their known pixels, and all scores over the tiles `indices`, in eval mode.

    `watch` sees each batch of predictions() as well.
    """
    classes = len(tiles.classes)
    confusion, total, known = torch.zeros(classes, classes, dtype=torch.int64), 0.0, 0
    for chosen, logits, truth in predictions(net, tiles, indices, device, precision):
        watch(chosen, logits, truth)
        counts = confusion_of(logits.argmax(1), truth, classes).cpu()
        confusion += counts
        pixels = int(counts.sum())
        total += loss(logits, truth).item() * pixels
        known += pixels
    return {"loss": total / max(known, 1), **scores(confusion.numpy())}


def gaps(train: dict[str, float], held_out: dict[str, float]) -> dict[str, float]:
    """-> held-out error minus training error for each metric; error = 1 - metric, and the loss is its own error."""
    return {k: held_out[k] - train[k] if k == "loss" else train[k] - held_out[k] for k in train}
