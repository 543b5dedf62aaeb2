"""Learning-rate schedules: SCHEDULES maps a name to a factor of the peak rate, a pure function of progress.

Progress runs from 0 after warm-up to 1, one past the last update: update k of n, counted from 0, stands at k/n, so a
schedule that ends at 0 loses no update to a rate of 0. Options in units of the decay period are shares of it, warm-up
excluded; factors are shares of the peak rate. A bad option raises InputError.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Literal

from fieldgap.base.errors import InputError

Schedule = Callable[..., float]  # progress, then the schedule's own options by keyword
ROUNDING = 1e-9  # 0.3 / 0.1 falls short of 3: without this a drop or restart would come one step late


def require(option: str, value: object, holds: bool, says: str) -> None:
    """`says` completes the sentence "must be ..."."""
    if not holds:
        raise InputError(f"{option}: {value!r} must be {says}")


def require_milestones(milestones: tuple[float, ...]) -> None:
    ascending = all(earlier < later for earlier, later in pairwise((0, *milestones, 1)))
    require("milestones", milestones, bool(milestones) and ascending, "ascending shares between 0 and 1")


def constant(progress: float) -> float:
    """Factor 1 throughout."""
    return 1.0


def step(progress: float, *, every: float, factor: float = 0.1) -> float:
    """Multiplied by `factor` each time a share `every` of the decay period has passed (torch's StepLR)."""
    require("every", every, 0 < every <= 1, "a share of the decay period, above 0 and at most 1")
    require("factor", factor, factor >= 0, "0 or more")
    return float(factor ** math.floor(progress / every + ROUNDING))


def multi_step(progress: float, *, milestones: tuple[float, ...], factor: float = 0.1) -> float:
    """Multiplied by `factor` at each milestone, a share of the decay period (He et al. 2015; torch's MultiStepLR)."""
    require_milestones(milestones)
    require("factor", factor, factor >= 0, "0 or more")
    return float(factor ** bisect(milestones, progress))


def piecewise_constant(progress: float, *, milestones: tuple[float, ...], factors: tuple[float, ...]) -> float:
    """1 up to the first milestone; from milestones[i] on, factors[i], of the peak rate and not of the one before."""
    require_milestones(milestones)
    require("factors", factors, len(factors) == len(milestones), f"as many as the {len(milestones)} milestones")
    require("factors", factors, all(factor >= 0 for factor in factors), "0 or more each")
    return (1.0, *factors)[bisect(milestones, progress)]


def exponential(progress: float, *, final: float) -> float:
    """From 1 to `final` by the same ratio each step: torch's ExponentialLR with gamma = final ** (1 / steps)."""
    require("final", final, final > 0, "above 0; an exponential never reaches 0")
    return float(final**progress)


def polynomial(progress: float, *, power: float, final: float = 0.0) -> float:
    """(1 - progress) ** power, from 1 to `final`: power 1 is a line (BERT), 0.9 DeepLab's poly (Chen et al. 2017)."""
    require("power", power, power > 0, "above 0")
    require("final", final, final >= 0, "0 or more")
    return float(final + (1 - final) * (1 - progress) ** power)


def inverse_sqrt(progress: float, *, timescale: float) -> float:
    """1 / sqrt(1 + progress / timescale) (Vaswani et al. 2017): 1/sqrt(2) after one timescale, never 0.

    `timescale` is a share of the decay period, above 1 if longer; the paper's is its warm-up's length.
    """
    require("timescale", timescale, timescale > 0, "above 0")
    return 1 / math.sqrt(1 + progress / timescale)


def cosine(progress: float, *, final: float = 0.0) -> float:
    """Half a cosine from 1 to `final`, without restarts (Loshchilov and Hutter 2016)."""
    require("final", final, final >= 0, "0 or more")
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def cosine_restarts(progress: float, *, cycles: int, growth: float = 1.0) -> float:
    """`cycles` cosines from 1 to 0, each `growth` times as long as the one before (SGDR, Loshchilov and Hutter 2016).

    The last one ends with the run: at progress 1 the factor is 0, where torch would restart at 1.
    """
    require("cycles", cycles, cycles >= 1, "1 or more")
    require("growth", growth, growth > 0, "above 0")
    ends = list(accumulate(growth**cycle for cycle in range(cycles)))  # in lengths of the first cycle
    position = progress * ends[-1]
    cycle = bisect(ends[:-1], position + ROUNDING)
    return cosine(1 - (ends[cycle] - position) / growth**cycle)


def triangular(progress: float, *, cycles: int, low: float) -> float:
    """`cycles` times from `low` up to 1 and back on straight lines (Smith 2017; torch's CyclicLR, momentum fixed).

    It starts at `low`, so after a warm-up to the peak the rate would fall at once; it belongs to runs without one.
    """
    require("cycles", cycles, cycles >= 1, "1 or more")
    require("low", low, 0 <= low <= 1, "a share of the peak rate, from 0 to 1")
    return low + (1 - low) * (1 - abs(2 * (progress * cycles % 1) - 1))


def one_cycle(
    progress: float, *, peak_at: float = 0.3, start_divisor: float = 25.0, final_divisor: float = 1e4
) -> float:
    """1/start_divisor, up to 1 at the share `peak_at`, down to 1/(start_divisor * final_divisor), both on half cosines.

    Smith and Topin 2018 with fastai's and torch's shape and defaults, momentum fixed; its climb is its warm-up. torch's
    OneCycleLR peaks one step earlier and spends its last update at the final rate, 250000 times below the peak by
    default: next to no update. Here, as in all schedules, the end lies one past the last update.
    """
    require("peak_at", peak_at, 0 < peak_at < 1, "a share of the decay period, between 0 and 1")
    require("start_divisor", start_divisor, start_divisor >= 1, "1 or more")
    require("final_divisor", final_divisor, final_divisor >= 1, "1 or more")
    if progress < peak_at:
        return cosine(1 - progress / peak_at, final=1 / start_divisor)
    return cosine((progress - peak_at) / (1 - peak_at), final=1 / (start_divisor * final_divisor))


DECAY_SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda share: 1 - share,
    "cosine": cosine,
    "1-sqrt": lambda share: 1 - math.sqrt(share),
}


def warmup_stable_decay(
    progress: float, *, decay: float, shape: Literal["linear", "cosine", "1-sqrt"] = "linear", final: float = 0.0
) -> float:
    """1, then down to `final` over the last share `decay` of the decay period (Hu et al. 2024, Hägele et al. 2024)."""
    require("decay", decay, 0 < decay <= 1, "a share of the decay period, above 0 and at most 1")
    require("shape", shape, shape in DECAY_SHAPES, f"one of {', '.join(DECAY_SHAPES)}")
    require("final", final, final >= 0, "0 or more")
    return final + (1 - final) * DECAY_SHAPES[shape](max(0.0, 1 - (1 - progress) / decay))


def article_warmup_cosine(progress: float, *, epochs: int) -> float:
    """A published scheduler, its slip kept: called after each epoch, it multiplies base_lr itself by the cosine factor.

    So each epoch decays the already decayed rate: after k of `epochs` calls the factor is the product of the cosines
    at 1/epochs .. k/epochs, not the last of them. At half time it is 0.23 with 10 epochs, 0.0086 with 40 and 1.2e-5
    with 100, where the cosine is 0.5: the more epochs, the smaller the part of the run that trains.
    """
    require("epochs", epochs, epochs >= 1, "1 or more")
    calls = math.floor(progress * epochs + ROUNDING)
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


def linear_warmup(share: float) -> float:
    """Share of the way from start to peak at `share` of the warm-up: a line (gradual warm-up, Goyal et al. 2017)."""
    return share


def constant_warmup(share: float) -> float:
    """At the start throughout, then a jump to the peak (He et al. 2015, section 4.2; ConstantLR in torch)."""
    return 0.0


WARMUPS: dict[str, Callable[[float], float]] = {"linear": linear_warmup, "constant": constant_warmup}


def learning_rate(
    step: int,
    *,
    peak: float,
    start: float,
    warmup_steps: int,
    total_steps: int,
    decay: Callable[[float], float],
    warmup: Callable[[float], float] = linear_warmup,
    hold: int = 1,
) -> float:
    """-> the rate in force at update `step`, counted from 0.

    `warmup` leads from `start` at step 0 to `peak` at step `warmup_steps`, where `decay` takes over: it would reach its
    end at `total_steps`, one past the last update. With `start` above 0 neither the first nor the last update is lost
    to a rate of 0; transformers warms up from 0 and loses the first.

    The rate holds for `hold` updates: each block of that many, counted from step 0, runs at the rate of its first. With
    `hold` = steps per epoch the first epoch runs at `start` and the first after the warm-up at `peak`; a block that
    begins inside the warm-up stays in it to the block's end.
    """
    step -= step % hold
    if step < warmup_steps:
        return start + (peak - start) * warmup(step / warmup_steps)
    return peak * decay((step - warmup_steps) / (total_steps - warmup_steps))
