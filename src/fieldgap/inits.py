"""Weight initialisers by name: INITS maps a name to a function that fills one weight in place.

An initialiser gets the weight, its fan-in and fan-out, and the generator to draw from. It touches no global random
state. Torch is not imported here, so that names can be checked without waiting for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor

Initialiser = Callable[["Tensor", int, int, "Generator"], None]


def kaiming_normal(weight: Tensor, fan_in: int, fan_out: int, generator: Generator) -> None:
    """Normal with variance 2 / fan_in, which keeps the forward variance through ReLU (He et al. 2015)."""
    weight.normal_(0, math.sqrt(2 / fan_in), generator=generator)


def xavier_normal(weight: Tensor, fan_in: int, fan_out: int, generator: Generator) -> None:
    """Normal with variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""
    weight.normal_(0, math.sqrt(2 / (fan_in + fan_out)), generator=generator)


INITS: dict[str, Initialiser] = {
    "kaiming_normal": kaiming_normal,
    "xavier_normal": xavier_normal,
}
