"""Weight initialisers: INITS maps a name to a function that fills one weight in place.

An initialiser is given the weight, its fan-in and fan-out, the generator that it draws from, and its own options by
keyword. It uses no global random state. Torch is not imported at the top, so that checking a name does not have to wait
for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Concatenate, Literal

from fieldgap.base.errors import InputError

if TYPE_CHECKING:
    from torch import Generator, Tensor

Initialiser = Callable[Concatenate["Tensor", int, int, "Generator", ...], None]
Fan = Literal["fan_in", "fan_out"]
Nonlinearity = Literal["linear", "relu", "leaky_relu", "tanh", "sigmoid", "selu"]

_SQUARED_GAINS = {"linear": 1.0, "relu": 2.0, "tanh": 25 / 9, "sigmoid": 1.0, "selu": 9 / 16}
_SLOPE = 0.01


def kaiming_normal(
    weight: Tensor,
    fan_in: int,
    fan_out: int,
    generator: Generator,
    *,
    fan: Fan = "fan_in",
    nonlinearity: Nonlinearity = "relu",
    negative_slope: float = _SLOPE,
) -> None:
    """Draw from a normal distribution with variance gain**2 / fan (He et al. 2015).

    By default that is 2 / fan_in, which keeps the variance of the forward pass through ReLU. `fan_out` keeps that of
    the backward pass instead. The gains are those of torch's `calculate_gain`; `negative_slope` is that of leaky_relu.
    """
    variance = _kaiming_variance({"fan_in": fan_in, "fan_out": fan_out}, fan, nonlinearity, negative_slope)
    weight.normal_(0, math.sqrt(variance), generator=generator)


def kaiming_uniform(
    weight: Tensor,
    fan_in: int,
    fan_out: int,
    generator: Generator,
    *,
    fan: Fan = "fan_in",
    nonlinearity: Nonlinearity = "relu",
    negative_slope: float = _SLOPE,
) -> None:
    """Draw from a uniform distribution with the variance, and the options, of kaiming_normal (He et al. 2015)."""
    variance = _kaiming_variance({"fan_in": fan_in, "fan_out": fan_out}, fan, nonlinearity, negative_slope)
    bound = math.sqrt(3 * variance)
    weight.uniform_(-bound, bound, generator=generator)


def _kaiming_variance(fans: Mapping[str, int], fan: str, nonlinearity: str, negative_slope: float) -> float:
    """Return gain**2 / fan; for a leaky ReLU of slope a, gain**2 = 2 / (1 + a**2) (He et al. 2015, equation 15)."""
    if not 0 <= negative_slope < math.inf:
        raise InputError(f"negative_slope: {negative_slope!r} is not the slope of a leaky ReLU; give 0 or more")
    if nonlinearity != "leaky_relu" and negative_slope != _SLOPE:
        raise InputError(f"negative_slope: {nonlinearity} has none; leave it out or set nonlinearity to leaky_relu")
    squared_gains = {**_SQUARED_GAINS, "leaky_relu": 2 / (1 + negative_slope**2)}
    return _lookup("nonlinearity", nonlinearity, squared_gains) / _lookup("fan", fan, fans)


def _lookup(option: str, value: str, known: Mapping[str, float]) -> float:
    if value not in known:
        raise InputError(f"{option}: {value!r} is unknown; give one of {', '.join(known)}")
    return known[value]


def xavier_normal(weight: Tensor, fan_in: int, fan_out: int, generator: Generator, *, gain: float = 1.0) -> None:
    """Draw from a normal distribution with variance gain**2 * 2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""
    weight.normal_(0, _positive("gain", gain) * math.sqrt(2 / (fan_in + fan_out)), generator=generator)


def xavier_uniform(weight: Tensor, fan_in: int, fan_out: int, generator: Generator, *, gain: float = 1.0) -> None:
    """Draw from a uniform distribution with the variance of xavier_normal.

    This is the "normalized initialization" of Glorot and Bengio 2010.
    """
    bound = _positive("gain", gain) * math.sqrt(6 / (fan_in + fan_out))
    weight.uniform_(-bound, bound, generator=generator)


def lecun_normal(weight: Tensor, fan_in: int, fan_out: int, generator: Generator) -> None:
    """Draw from a normal distribution with variance 1 / fan_in (LeCun et al. 1998).

    It is not truncated, unlike the initialisers of this name in JAX and Keras.
    """
    weight.normal_(0, math.sqrt(1 / fan_in), generator=generator)


def orthogonal(weight: Tensor, fan_in: int, fan_out: int, generator: Generator, *, gain: float = 1.0) -> None:
    """Draw `gain` times a matrix with orthonormal rows, or columns if it has more rows (Saxe et al. 2014).

    The matrix has weight.shape[0] rows, and all such matrices are equally likely. The fans are not used: the mean
    square of a weight is gain**2 / max(rows, columns).
    """
    import torch

    rows, columns = weight.shape[0], weight[0].numel()
    normal = weight.new_empty(rows, columns).normal_(generator=generator)
    q, r = torch.linalg.qr(normal if rows >= columns else normal.T)
    # LAPACK fixes the signs of R; without undoing that, Q would not be uniform (Mezzadri 2007).
    q = q * r.diagonal().sign() * _positive("gain", gain)
    weight.copy_((q if rows >= columns else q.T).reshape(weight.shape))


def truncated_normal(weight: Tensor, fan_in: int, fan_out: int, generator: Generator, *, std: float = 0.02) -> None:
    """Draw from a normal distribution cut off at 2 `std`, whatever the fans, as BERT does (Devlin et al. 2019).

    `std` is the standard deviation before cutting; 0.88 of it remains.
    """
    weight.normal_(0, _positive("std", std), generator=generator)
    while bool((outside := weight.abs() > 2 * std).any()):
        weight.copy_(weight.clone().normal_(0, std, generator=generator).where(outside, weight))


def _positive(option: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise InputError(f"{option}: {value!r} does not scale weights; give a number above 0, such as 1.0")
    return value


def torch_default(weight: Tensor, fan_in: int, fan_out: int, generator: Generator) -> None:
    """Draw from a uniform distribution within 1 / sqrt(fan_in) of 0, as torch does: kaiming_uniform_(a=sqrt(5)).

    The variance, 1 / (3 fan_in), is a sixth of He's. A network as torch leaves it differs in two ways: its biases are
    drawn too, and the fan of a transposed convolution is taken to be weight.shape[1] * positions, which is not its
    fan-in.
    """
    bound = 1 / math.sqrt(fan_in)
    weight.uniform_(-bound, bound, generator=generator)


INITS: dict[str, Initialiser] = {
    "kaiming_normal": kaiming_normal,
    "kaiming_uniform": kaiming_uniform,
    "xavier_normal": xavier_normal,
    "xavier_uniform": xavier_uniform,
    "lecun_normal": lecun_normal,
    "orthogonal": orthogonal,
    "truncated_normal": truncated_normal,
    "torch_default": torch_default,
}
