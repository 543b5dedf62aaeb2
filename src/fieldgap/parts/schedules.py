"""Learning-rate schedules: SCHEDULES maps a name to a factor of the peak rate, a pure function of progress.

Progress is 0 after the warm-up and 1 one step past the last update: update k of n, counting from 0, is at k/n. So a
schedule that ends at 0 loses no update to a rate of 0. Options that are lengths of time are shares of the decay period,
which is the training without its warm-up; options that are factors are shares of the peak rate. Every schedule raises
InputError for an option that it cannot use.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Literal

from fieldgap.base.errors import InputError

Schedule = Callable[..., float]  # Progress, then the schedule's own options by keyword.
_ROUNDING = 1e-9  # 0.3 / 0.1 is slightly below 3; without this, a drop or restart would come one step late.


def _require(option: str, value: object, valid: bool, rule: str) -> None:
    """Raise InputError unless the value is valid; `rule` completes the sentence "must be ..."."""
    if not valid:
        raise InputError(f"{option}: {value!r} must be {rule}")


def _require_milestones(milestones: tuple[float, ...]) -> None:
    ascending = all(earlier < later for earlier, later in pairwise((0, *milestones, 1)))
    _require("milestones", milestones, bool(milestones) and ascending, "ascending shares between 0 and 1")


def constant(progress: float) -> float:
    """Return 1 throughout."""
    return 1.0


def step(progress: float, *, every: float, factor: float = 0.1) -> float:
    """Return 1, multiplied by `factor` each time a share `every` of the decay period has passed (torch's StepLR)."""
    _require("every", every, 0 < every <= 1, "a share of the decay period, above 0 and at most 1")
    _require("factor", factor, factor >= 0, "0 or more")
    return float(factor ** math.floor(progress / every + _ROUNDING))


def multi_step(progress: float, *, milestones: tuple[float, ...], factor: float = 0.1) -> float:
    """Return 1, multiplied by `factor` at each milestone (He et al. 2015; torch's MultiStepLR).

    Milestones are shares of the decay period.
    """
    _require_milestones(milestones)
    _require("factor", factor, factor >= 0, "0 or more")
    return float(factor ** bisect(milestones, progress))


def piecewise_constant(progress: float, *, milestones: tuple[float, ...], factors: tuple[float, ...]) -> float:
    """Return 1 up to the first milestone, and factors[i] from milestones[i] on.

    Each factor is a share of the peak rate, not of the rate before it. Milestones are shares of the decay period.
    """
    _require_milestones(milestones)
    _require("factors", factors, len(factors) == len(milestones), f"as many as the {len(milestones)} milestones")
    _require("factors", factors, all(factor >= 0 for factor in factors), "0 or more each")
    return (1.0, *factors)[bisect(milestones, progress)]


def exponential(progress: float, *, final: float) -> float:
    """Return a factor that falls from 1 to `final` by the same ratio each step.

    It is torch's ExponentialLR with gamma = final ** (1 / steps).
    """
    _require("final", final, final > 0, "above 0; an exponential never reaches 0")
    return float(final**progress)


def polynomial(progress: float, *, power: float, final: float = 0.0) -> float:
    """Return (1 - progress) ** power, scaled to go from 1 to `final`.

    Power 1 is a line (BERT), 0.9 is DeepLab's "poly" (Chen et al. 2017).
    """
    _require("power", power, power > 0, "above 0")
    _require("final", final, final >= 0, "0 or more")
    return float(final + (1 - final) * (1 - progress) ** power)


def inverse_sqrt(progress: float, *, timescale: float) -> float:
    """Return 1 / sqrt(1 + progress / timescale) (Vaswani et al. 2017).

    That is 1/sqrt(2) after one timescale, and never 0. `timescale` is in units of the decay period, above 1 if longer;
    in the paper it is as long as the warm-up.
    """
    _require("timescale", timescale, timescale > 0, "above 0")
    return 1 / math.sqrt(1 + progress / timescale)


def cosine(progress: float, *, final: float = 0.0) -> float:
    """Return half a cosine from 1 to `final`, without restarts (Loshchilov and Hutter 2016)."""
    _require("final", final, final >= 0, "0 or more")
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def cosine_restarts(progress: float, *, cycles: int, growth: float = 1.0) -> float:
    """Return `cycles` half cosines from 1 to 0, each `growth` times as long as the one before.

    This is SGDR (Loshchilov and Hutter 2016). The last cycle ends with the training: at progress 1 the factor is 0,
    where torch would restart at 1.
    """
    _require("cycles", cycles, cycles >= 1, "1 or more")
    _require("growth", growth, growth > 0, "above 0")
    ends = list(accumulate(growth**cycle for cycle in range(cycles)))  # In units of the first cycle.
    position = progress * ends[-1]
    cycle = bisect(ends[:-1], position + _ROUNDING)
    return cosine(1 - (ends[cycle] - position) / growth**cycle)


def triangular(progress: float, *, cycles: int, low: float) -> float:
    """Return `cycles` straight lines from `low` up to 1 and back (Smith 2017; torch's CyclicLR with momentum fixed).

    It starts at `low`, so after a warm-up to the peak the rate would fall at once: use it without a warm-up.
    """
    _require("cycles", cycles, cycles >= 1, "1 or more")
    _require("low", low, 0 <= low <= 1, "a share of the peak rate, from 0 to 1")
    return low + (1 - low) * (1 - abs(2 * (progress * cycles % 1) - 1))


def one_cycle(
    progress: float, *, peak_at: float = 0.3, start_divisor: float = 25.0, final_divisor: float = 1e4
) -> float:
    """Return 1 / start_divisor, up to 1 at `peak_at`, then down to 1 / (start_divisor * final_divisor).

    Both ways are half cosines (Smith and Topin 2018, with the shape and defaults of fastai and torch, momentum fixed).
    The climb takes the place of a warm-up. torch's OneCycleLR peaks one step earlier, and spends its last update at the
    final rate, by default 250000 times below the peak, which is next to no update. Here, as in all schedules, the end
    is one step past the last update.
    """
    _require("peak_at", peak_at, 0 < peak_at < 1, "a share of the decay period, between 0 and 1")
    _require("start_divisor", start_divisor, start_divisor >= 1, "1 or more")
    _require("final_divisor", final_divisor, final_divisor >= 1, "1 or more")
    if progress < peak_at:
        return cosine(1 - progress / peak_at, final=1 / start_divisor)
    return cosine((progress - peak_at) / (1 - peak_at), final=1 / (start_divisor * final_divisor))


_DECAY_SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda share: 1 - share,
    "cosine": cosine,
    "1-sqrt": lambda share: 1 - math.sqrt(share),
}


def warmup_stable_decay(
    progress: float, *, decay: float, shape: Literal["linear", "cosine", "1-sqrt"] = "linear", final: float = 0.0
) -> float:
    """Return 1, then a factor that falls to `final` over the last share `decay` of the decay period.

    The sources are Hu et al. 2024 and Hägele et al. 2024.
    """
    _require("decay", decay, 0 < decay <= 1, "a share of the decay period, above 0 and at most 1")
    _require("shape", shape, shape in _DECAY_SHAPES, f"one of {', '.join(_DECAY_SHAPES)}")
    _require("final", final, final >= 0, "0 or more")
    return final + (1 - final) * _DECAY_SHAPES[shape](max(0.0, 1 - (1 - progress) / decay))


def article_warmup_cosine(progress: float, *, epochs: int) -> float:
    """Return the factor of a published scheduler that multiplies its own base rate by the cosine after each epoch.

    The slip is kept: each epoch decays the rate that is already decayed. After k of `epochs` calls the factor is the
    product of the cosines at 1/epochs .. k/epochs, not the last of them. At half time it is 0.23 with 10 epochs, 0.0086
    with 40 and 1.2e-5 with 100, where the cosine is 0.5: the more epochs, the smaller the share of them that trains.
    """
    _require("epochs", epochs, epochs >= 1, "1 or more")
    calls = math.floor(progress * epochs + _ROUNDING)
    return math.prod(cosine(call / epochs) for call in range(1, calls + 1))


SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "step": step,
    "multi_step": multi_step,
    "piecewise_constant": piecewise_constant,
    "exponential": exponential,
    "polynomial": polynomial,
    "inverse_sqrt": inverse_sqrt,
    "cosine": cosine,
    "cosine_restarts": cosine_restarts,
    "triangular": triangular,
    "one_cycle": one_cycle,
    "warmup_stable_decay": warmup_stable_decay,
    "article_warmup_cosine": article_warmup_cosine,
}
