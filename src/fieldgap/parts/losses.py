"""Losses by name: LOSSES maps a name to a function of logits (N, C, H, W) and class indices (N, H, W) -> a scalar.

Probabilities are the softmax over the C logits. Pixels of the class IGNORE take no part; where no other is left, the
loss is 0 and so is its gradient. Torch is not imported here, so that names can be checked without waiting for it.
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


def labelled(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(N, C, H, W) logits, (N, H, W) classes -> (P, C) logits, at least in float32, (P,) classes, (P,) which are known.

    Pixels are flattened: torch's own loss on (N, C, H, W) has no deterministic backward pass on CUDA. Those to ignore
    stay, with logits and class 0, since the host would have to wait for a GPU to learn how many are left.
    """
    pixels, classes = logits.movedim(1, -1).flatten(0, -2), target.flatten()
    pixels = pixels if pixels.dtype.itemsize >= 4 else pixels.float()
    known = classes != IGNORE
    return pixels.where(known[:, None], 0), classes.where(known, 0), known


def one_hot(pixels: Tensor, classes: Tensor, known: Tensor) -> Tensor:
    """(P, C), (P,) and (P,) -> (P, C) of zeros and ones, in the type of `pixels`; zeros where not known."""
    return pixels.new_ones(pixels.shape[1]).diag()[classes] * known[:, None]


def per_class(values: tuple[float, ...], pixels: Tensor) -> Tensor:
    """-> (C,) values, ones for an empty tuple. Raises InputError when they are not C or one is negative."""
    import torch

    count = pixels.shape[1]
    if values and (len(values) != count or min(values) < 0):
        raise InputError(f"class weights {values}: give {count} of 0 or more, one a class, or none")
    # Filled number by number: from a list the host would wait for its copy to a GPU.
    return torch.stack([pixels.new_full((), each) for each in values]) if values else pixels.new_ones(count)


def ratio(part: Tensor, whole: Tensor) -> Tensor:
    """-> part / whole, and 0 for 0 / 0."""
    return part / whole.where(whole != 0, 1)


def mean(values: Tensor, known: Tensor) -> Tensor:
    """(P,) and (P,) -> the mean of the known ones, a scalar; 0 of none."""
    return (values * known).sum() / known.sum().clamp_min(1)


def cross_entropy(
    logits: Tensor, target: Tensor, *, label_smoothing: float = 0.0, weights: tuple[float, ...] = ()
) -> Tensor:
    """Mean negative log-likelihood in nats, as torch has it: divided by the sum of the weights of the true classes.

    Smoothing moves that share of the truth to all C classes alike, the true one included (Szegedy et al. 2016). When
    all true classes weigh 0 the loss is 0.
    """
    pixels, classes, known = labelled(logits, target)
    log_p, weight = pixels.log_softmax(1), per_class(weights, pixels)
    of_truth = log_p.gather(1, classes[:, None])[:, 0] * weight[classes]
    smoothed = of_truth.lerp((log_p * weight).mean(1), label_smoothing) if label_smoothing else of_truth
    return -ratio((smoothed * known).sum(), (weight[classes] * known).sum())


def focal(logits: Tensor, target: Tensor, *, gamma: float = 2.0, weights: tuple[float, ...] = ()) -> Tensor:
    """Mean of -w_t (1 - p_t)^gamma log p_t, p_t the probability of the true class (Lin et al. 2017, w their alpha).

    The mean is over pixels, the weights are not normalised. smp's is the same in its binary mode; its multiclass mode
    averages over C sigmoids instead.
    """
    pixels, classes, known = labelled(logits, target)
    log_p = pixels.log_softmax(1).gather(1, classes[:, None])[:, 0]
    # Below gamma 1 the power has no gradient at 0; there log p is 0 too, so the floor leaves the loss as it is.
    rest = (-log_p.expm1()).clamp_min(1e-12)
    return mean(per_class(weights, pixels)[classes] * rest**gamma * -log_p, known)


def tversky(logits: Tensor, target: Tensor, *, alpha: float = 0.3, beta: float = 0.7, smooth: float = 1.0) -> Tensor:
    """1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth), the mean over all C classes (Salehi et al. 2017).

    Counts are sums of probabilities over the whole batch, `smooth` is in pixels. A class that is absent from the batch
    gives alpha FP / (alpha FP + smooth): without smoothing 1 and no gradient, or 0 for 0 / 0. smp gives it 0.
    """
    pixels, classes, known = labelled(logits, target)
    p, truth = pixels.softmax(1) * known[:, None], one_hot(pixels, classes, known)
    hit, false, missed = (p * truth).sum(0), (p * (1 - truth)).sum(0), ((1 - p) * truth).sum(0)
    error = alpha * false + beta * missed
    return ratio(error, hit + error + smooth).mean()


def dice(logits: Tensor, target: Tensor, *, smooth: float = 1.0) -> Tensor:
    """Soft Dice, 1 - (2 TP + 2 smooth) / (2 TP + FP + FN + 2 smooth): `tversky` at alpha = beta = 1/2.

    Plain sums under the line, as in smp and unlike the squares of Milletari et al. 2016.
    """
    return tversky(logits, target, alpha=0.5, beta=0.5, smooth=smooth)


def lovasz(errors: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """(P, K) errors, membership of K sets, and (P,) -> (K,) Lovasz extensions of 1 - IoU (Berman et al. 2018).

    Over the known pixels. An empty set gives its largest error.
    """
    order = errors.detach().where(known[:, None], -math.inf).argsort(dim=0, descending=True, stable=True)
    inside = truth.bool().gather(0, order)
    outside = (~inside & known[order]).cumsum(0)
    # In double: the steps of 1 - IoU are near 1 / P, which float32 would round away. They are 0 from pixels to ignore.
    jaccard = ratio((inside.cumsum(0) + outside).double(), inside.sum(0) + outside)
    steps = jaccard.diff(dim=0, prepend=jaccard.new_zeros(1, jaccard.shape[1]))
    return (errors.gather(0, order) * steps.to(errors.dtype)).sum(0)


def lovasz_softmax(logits: Tensor, target: Tensor) -> Tensor:
    """Lovasz extension of 1 - IoU at the errors |truth - p|, over the whole batch (Berman et al. 2018).

    The mean is over the classes in the batch: one that is absent has no part in it.
    """
    pixels, classes, known = labelled(logits, target)
    truth = one_hot(pixels, classes, known)
    present = truth.any(0)
    return ratio((lovasz((truth - pixels.softmax(1)).abs(), truth, known) * present).sum(), present.sum())


def lovasz_hinge(logits: Tensor, target: Tensor) -> Tensor:
    """Lovasz extension of 1 - IoU of class 1 at the hinge errors of the logits' difference (Berman et al. 2018).

    Over the whole batch. Without class 1 it is the largest error. Raises InputError unless C is 2.
    """
    pixels, classes, known = labelled(logits, target)
    if pixels.shape[1] != 2:
        raise InputError(f"loss lovasz_hinge: takes 2 classes, not {pixels.shape[1]}; use lovasz_softmax")
    errors = 1 - pixels.diff(dim=1) * (2 * classes[:, None] - 1)
    return lovasz(errors.relu(), classes[:, None], known).sum()


def hinge(logits: Tensor, target: Tensor, *, margin: float = 1.0) -> Tensor:
    """Mean of max(0, margin - (true logit - highest other logit)) (Crammer and Singer 2001)."""
    pixels, classes, known = labelled(logits, target)
    truth = one_hot(pixels, classes, known)
    lead = pixels.gather(1, classes[:, None])[:, 0] - pixels.masked_fill(truth.bool(), -math.inf).amax(1)
    return mean((margin - lead).relu(), known)


def squared_error(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over pixels of the sum over classes of (p - truth)^2, from 0 to 2 (Brier 1950)."""
    pixels, classes, known = labelled(logits, target)
    return mean((pixels.softmax(1) - one_hot(pixels, classes, known)).square().sum(1), known)


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
    """`0.5*dice+focal` -> [(0.5, "dice"), (1.0, "focal")]. Raises InputError for an unknown loss or a wrong factor."""
    found = []
    for text in name.split("+"):
        factor, star, part = (each.strip() for each in text.rpartition("*"))
        if part not in LOSSES and ":" not in part:
            raise InputError(f"loss: there is no {part!r}; known: {', '.join(LOSSES)}")
        try:
            weight = float(factor) if star else 1.0
        except ValueError:
            weight = math.nan
        if not 0 <= weight < math.inf:
            raise InputError(f"loss: {factor!r} is not a factor of 0 or more; write 0.5*{part}")
        found.append((weight, part))
    return found


def loss_named(name: str, options: Options) -> Loss:
    """`dice`, `dice+focal` or `0.5*dice+focal` -> the loss or the weighted sum, each with its options.

    Raises InputError for other names.
    """
    parts = [(weight, bind(LOSSES, part, options)) for weight, part in terms(name)]
    if len(parts) == 1 and parts[0][0] == 1:
        return parts[0][1]

    def combined(logits: Tensor, target: Tensor) -> Tensor:
        return sum((weight * loss(logits, target) for weight, loss in parts), start=logits.new_zeros(()))

    return combined
