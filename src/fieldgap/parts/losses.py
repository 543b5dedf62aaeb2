"""Losses: LOSSES maps a name to a function of logits (N, C, H, W) and class indices (N, H, W) that returns a scalar.

Probabilities are the softmax over the C logits. Pixels of the class IGNORE are left out; where no other pixel is left,
the loss is 0 and so is its gradient. Torch is not imported at the top, so that checking a name does not have to wait
for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from fieldgap.base.errors import InputError
from fieldgap.base.labels import IGNORE
from fieldgap.parts.registry import Options, bind

if TYPE_CHECKING:
    from torch import Tensor

Loss = Callable[..., "Tensor"]


def _flattened(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits (P, C) in float32 or wider, class indices (P,), and whether each is known (P,), of all P pixels.

    Pixels are flattened because torch's own loss on (N, C, H, W) has no deterministic backward pass on CUDA. Those to
    ignore stay, with logits and class 0: to drop them, the host would have to wait for the GPU to count them.
    """
    pixels, classes = logits.movedim(1, -1).flatten(0, -2), target.flatten()
    pixels = pixels if pixels.dtype.itemsize >= 4 else pixels.float()
    known = classes != IGNORE
    return pixels.where(known[:, None], 0), classes.where(known, 0), known


def _one_hot(pixels: Tensor, classes: Tensor, known: Tensor) -> Tensor:
    """Return the true probabilities (P, C) in the type of `pixels`, 0 for all classes where unknown."""
    return pixels.new_ones(pixels.shape[1]).diag()[classes] * known[:, None]


def _class_weights(weights: tuple[float, ...], pixels: Tensor) -> Tensor:
    """Return the weights as a tensor (C,), ones if there are none."""
    import torch

    count = pixels.shape[1]
    if weights and (len(weights) != count or min(weights) < 0):
        raise InputError(f"class weights {weights}: give {count} of 0 or more, one per class, or none")
    # Filled one by one: from a list, the host would wait for its copy to the GPU.
    return torch.stack([pixels.new_full((), weight) for weight in weights]) if weights else pixels.new_ones(count)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Return part / whole, and 0 for 0 / 0."""
    return part / whole.where(whole != 0, 1)


def _mean(values: Tensor, known: Tensor) -> Tensor:
    """Return the mean of the known values, 0 if there are none."""
    return (values * known).sum() / known.sum().clamp_min(1)


def cross_entropy(
    logits: Tensor, target: Tensor, *, label_smoothing: float = 0.0, weights: tuple[float, ...] = ()
) -> Tensor:
    """Return the mean negative log-likelihood in nats, divided, as in torch, by the weights of the true classes.

    Label smoothing moves that share of the truth to all C classes equally, the true one included (Szegedy et al. 2016).
    If all true classes have weight 0, the loss is 0.
    """
    pixels, classes, known = _flattened(logits, target)
    log_p, weight = pixels.log_softmax(1), _class_weights(weights, pixels)
    of_truth = log_p.gather(1, classes[:, None])[:, 0] * weight[classes]
    smoothed = of_truth.lerp((log_p * weight).mean(1), label_smoothing) if label_smoothing else of_truth
    return -_ratio((smoothed * known).sum(), (weight[classes] * known).sum())


def focal(logits: Tensor, target: Tensor, *, gamma: float = 2.0, weights: tuple[float, ...] = ()) -> Tensor:
    """Return the mean over pixels of -w (1 - p)^gamma log p, with p the probability of the true class.

    The weight w of the true class is the alpha of Lin et al. 2017; weights are not normalised. In its binary mode smp
    computes the same; in its multiclass mode it averages over C sigmoids instead.
    """
    pixels, classes, known = _flattened(logits, target)
    log_p = pixels.log_softmax(1).gather(1, classes[:, None])[:, 0]
    # Below gamma 1 the power has no gradient at 0; log p is 0 there too, so the floor does not change the loss.
    rest = (-log_p.expm1()).clamp_min(1e-12)
    return _mean(_class_weights(weights, pixels)[classes] * rest**gamma * -log_p, known)


def tversky(logits: Tensor, target: Tensor, *, alpha: float = 0.3, beta: float = 0.7, smooth: float = 1.0) -> Tensor:
    """Return the mean over classes of 1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth) (Salehi et al. 2017).

    TP, FP and FN are sums of probabilities over the whole batch, and `smooth` is in pixels. A class that is absent from
    the batch contributes alpha FP / (alpha FP + smooth); without smoothing that is 1 and has no gradient, or 0 for
    0 / 0. In smp such a class contributes 0.
    """
    pixels, classes, known = _flattened(logits, target)
    p, truth = pixels.softmax(1) * known[:, None], _one_hot(pixels, classes, known)
    tp, fp, fn = (p * truth).sum(0), (p * (1 - truth)).sum(0), ((1 - p) * truth).sum(0)
    error = alpha * fp + beta * fn
    return _ratio(error, tp + error + smooth).mean()


def dice(logits: Tensor, target: Tensor, *, smooth: float = 1.0) -> Tensor:
    """Return soft Dice, 1 - (2 TP + 2 smooth) / (2 TP + FP + FN + 2 smooth): `tversky` with alpha = beta = 1/2.

    The denominator has plain sums, as in smp, and not the squares of Milletari et al. 2016.
    """
    return tversky(logits, target, alpha=0.5, beta=0.5, smooth=smooth)


def _lovasz(errors: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Return the Lovasz extension (K,) of 1 - IoU for K sets of known pixels (Berman et al. 2018).

    Args:
        errors: The error (P, K) of each pixel in each set.
        truth: Whether each pixel is in each set (P, K). For an empty set the result is its largest error.
        known: Whether the class of each pixel is known (P,).
    """
    order = errors.detach().where(known[:, None], -math.inf).argsort(dim=0, descending=True, stable=True)
    inside = truth.bool().gather(0, order)
    outside = (~inside & known[order]).cumsum(0)
    # In double: the steps of 1 - IoU are near 1 / P, which float32 would round away. They are 0 at unknown pixels.
    jaccard = _ratio((inside.cumsum(0) + outside).double(), inside.sum(0) + outside)
    steps = jaccard.diff(dim=0, prepend=jaccard.new_zeros(1, jaccard.shape[1]))
    return (errors.gather(0, order) * steps.to(errors.dtype)).sum(0)


def lovasz_softmax(logits: Tensor, target: Tensor) -> Tensor:
    """Return the Lovasz extension of 1 - IoU at the errors |truth - p|, over the whole batch (Berman et al. 2018).

    It is the mean over the classes that are present in the batch.
    """
    pixels, classes, known = _flattened(logits, target)
    truth = _one_hot(pixels, classes, known)
    present = truth.any(0)
    return _ratio((_lovasz((truth - pixels.softmax(1)).abs(), truth, known) * present).sum(), present.sum())


def lovasz_hinge(logits: Tensor, target: Tensor) -> Tensor:
    """Return the Lovasz extension of 1 - IoU of class 1 at the hinge errors of two logits (Berman et al. 2018).

    The errors are those of the difference of the logits, over the whole batch. Without class 1 in it, the loss is the
    largest error.

    Raises:
        InputError: Unless there are two classes.
    """
    pixels, classes, known = _flattened(logits, target)
    if pixels.shape[1] != 2:
        raise InputError(f"loss: lovasz_hinge needs 2 classes, not {pixels.shape[1]}; use lovasz_softmax")
    errors = 1 - pixels.diff(dim=1) * (2 * classes[:, None] - 1)
    return _lovasz(errors.relu(), classes[:, None], known).sum()


def hinge(logits: Tensor, target: Tensor, *, margin: float = 1.0) -> Tensor:
    """Return the mean of max(0, margin - (true logit - highest other logit)) (Crammer and Singer 2001)."""
    pixels, classes, known = _flattened(logits, target)
    truth = _one_hot(pixels, classes, known)
    lead = pixels.gather(1, classes[:, None])[:, 0] - pixels.masked_fill(truth.bool(), -math.inf).amax(1)
    return _mean((margin - lead).relu(), known)


def squared_error(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean over pixels of the sum over classes of (p - truth)^2, from 0 to 2 (Brier 1950)."""
    pixels, classes, known = _flattened(logits, target)
    return _mean((pixels.softmax(1) - _one_hot(pixels, classes, known)).square().sum(1), known)


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "dice": dice,
    "tversky": tversky,
    "lovasz_softmax": lovasz_softmax,
    "lovasz_hinge": lovasz_hinge,
    "hinge": hinge,
    "squared_error": squared_error,
}


def terms(name: str) -> list[tuple[float, str]]:
    """Return the weights and names in a sum of losses: `0.5*dice+focal` gives [(0.5, "dice"), (1.0, "focal")].

    Raises:
        InputError: If a loss is unknown, or a weight is not a number of 0 or more.
    """
    pairs = []
    for text in name.split("+"):
        factor, star, part = (word.strip() for word in text.rpartition("*"))
        if part not in LOSSES and ":" not in part:
            raise InputError(f"loss: there is no {part!r}; known: {', '.join(LOSSES)}")
        try:
            weight = float(factor) if star else 1.0
        except ValueError:
            weight = math.nan
        if not 0 <= weight < math.inf:
            raise InputError(f"loss: {factor!r} is not a factor of 0 or more; write 0.5*{part}")
        pairs.append((weight, part))
    return pairs


def loss_named(name: str, options: Options) -> Loss:
    """Return the loss `dice`, or the weighted sum `0.5*dice+focal`, with the options of each of its parts.

    Raises:
        InputError: As `terms` does.
    """
    parts = [(weight, bind(LOSSES, part, options)) for weight, part in terms(name)]
    if len(parts) == 1 and parts[0][0] == 1:
        return parts[0][1]

    def combined(logits: Tensor, target: Tensor) -> Tensor:
        return sum((weight * loss(logits, target) for weight, loss in parts), start=logits.new_zeros(()))

    return combined
