"""Weight initialisers by name: INITS maps a name to a function that fills one weight in place.

An initialiser gets the weight, its fan-in and fan-out, the generator to draw from and, by keyword, its own options. It
touches no global random state. Torch is not imported here, so that names can be checked without waiting for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Concatenate, Literal

from fieldgap.base.errors import InputError

if TYPE_CHECKING:
    from torch import Generator, Tensor

Initialiser = Callable[Concatenate["Tensor", int, int, "Generator", ...], None]

SQUARED_GAINS = {"linear": 1.0, "relu": 2.0, "tanh": 25 / 9, "sigmoid": 1.0, "selu": 9 / 16}
SLOPE = 0.01


def positive(option: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise InputError(f"{option}: {value!r} does not scale weights; give a number above 0, such as 1.0")
    return value


def chosen(option: str, value: str, known: Mapping[str, float]) -> float:
    if value not in known:
        raise InputError(f"{option}: {value!r} is unknown; give one of {', '.join(known)}")
    return known[value]


def kaiming_variance(fans: Mapping[str, int], fan: str, nonlinearity: str, negative_slope: float) -> float:
    """-> gain**2 / fan; a leaky ReLU of slope a has gain**2 = 2 / (1 + a**2) (He et al. 2015, equation 15)."""
    if not 0 <= negative_slope < math.inf:
        raise InputError(f"negative_slope: {negative_slope!r} is not the slope of a leaky ReLU; give 0 or more")
    if nonlinearity != "leaky_relu" and negative_slope != SLOPE:
        raise InputError(f"negative_slope: {nonlinearity} has none; leave it out or set nonlinearity to leaky_relu")
    squared_gains = {**SQUARED_GAINS, "leaky_relu": 2 / (1 + negative_slope**2)}
    return chosen("nonlinearity", nonlinearity, squared_gains) / chosen("fan", fan, fans)


def kaiming_normal(
    weight: Tensor,
    fan_in: int,
    fan_out: int,
    generator: Generator,
    *,
    fan: Literal["fan_in", "fan_out"] = "fan_in",
    nonlinearity: Literal["linear", "relu", "leaky_relu", "tanh", "sigmoid", "selu"] = "relu",
    negative_slope: float = SLOPE,
) -> None:
    """Normal with variance gain**2 / fan, by default 2 / fan_in, which keeps the forward variance through ReLU.

    With fan_out it keeps the backward variance instead (He et al. 2015). Gains are those of torch's `calculate_gain`.
    """
    variance = kaiming_variance({"fan_in": fan_in, "fan_out": fan_out}, fan, nonlinearity, negative_slope)
    weight.normal_(0, math.sqrt(variance), generator=generator)


def kaiming_uniform(
    weight: Tensor,
    fan_in: int,
    fan_out: int,
    generator: Generator,
    *,
    fan: Literal["fan_in", "fan_out"] = "fan_in",
    nonlinearity: Literal["linear", "relu", "leaky_relu", "tanh", "sigmoid", "selu"] = "relu",
    negative_slope: float = SLOPE,
) -> None:
    """Uniform with the variance, and the options, of kaiming_normal (He et al. 2015)."""
    variance = kaiming_variance({"fan_in": fan_in, "fan_out": fan_out}, fan, nonlinearity, negative_slope)
    bound = math.sqrt(3 * variance)
    weight.uniform_(-bound, bound, generator=generator)


def xavier_normal(weight: Tensor, fan_in: int, fan_out: int, generator: Generator, *, gain: float = 1.0) -> None:
    """Normal with variance gain**2 * 2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""
    weight.normal_(0, positive("gain", gain) * math.sqrt(2 / (fan_in + fan_out)), generator=generator)


def xavier_uniform(weight: Tensor, fan_in: int, fan_out: int, generator: Generator, *, gain: float = 1.0) -> None:
    """Uniform with the variance of xavier_normal; the "normalized initialization" of Glorot and Bengio 2010."""
    bound = positive("gain", gain) * math.sqrt(6 / (fan_in + fan_out))
    weight.uniform_(-bound, bound, generator=generator)


def lecun_normal(weight: Tensor, fan_in: int, fan_out: int, generator: Generator) -> None:
    """Normal with variance 1 / fan_in (LeCun et al. 1998), not truncated, unlike JAX's and Keras's of this name."""
    weight.normal_(0, math.sqrt(1 / fan_in), generator=generator)


def orthogonal(weight: Tensor, fan_in: int, fan_out: int, generator: Generator, *, gain: float = 1.0) -> None:
    """`gain` times a matrix of weight.shape[0] rows, orthonormal or, if it is tall, its columns so (Saxe et al. 2014).

    All such matrices are equally likely. The fans play no part: the mean square weight is gain**2 / max(rows, columns).
    """
    import torch

    rows, columns = weight.shape[0], weight[0].numel()
    normal = weight.new_empty(rows, columns).normal_(generator=generator)
    q, r = torch.linalg.qr(normal if rows >= columns else normal.T)
    # LAPACK fixes the signs of R; without undoing that, Q would not be uniform (Mezzadri 2007).
    q = q * r.diagonal().sign() * positive("gain", gain)
    weight.copy_((q if rows >= columns else q.T).reshape(weight.shape))


def truncated_normal(weight: Tensor, fan_in: int, fan_out: int, generator: Generator, *, std: float = 0.02) -> None:
    """Normal of deviation `std` whatever the fans, redrawn outside +-2 std, as BERT starts (Devlin et al. 2019).

    `std` is that before truncation; what remains has 0.88 of it.
    """
    weight.normal_(0, positive("std", std), generator=generator)
    while bool((outside := weight.abs() > 2 * std).any()):
        weight.copy_(weight.clone().normal_(0, std, generator=generator).where(outside, weight))


def torch_default(weight: Tensor, fan_in: int, fan_out: int, generator: Generator) -> None:
    """Uniform of bound 1 / sqrt(fan_in), torch's start of convolutions and linear layers: kaiming_uniform_(a=sqrt(5)).

    Its variance 1 / (3 fan_in) is six times below He's. An untouched network differs twice: torch draws biases too, and
    takes for the fan of a transposed convolution weight.shape[1] * positions, which is not its fan_in.
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
