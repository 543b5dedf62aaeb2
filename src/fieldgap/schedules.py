"""Learning-rate schedules: SCHEDULES maps a name to a factor of the peak rate, a pure function of progress."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float], float]


def constant(progress: float) -> float:
    """Factor 1 throughout."""
    return 1.0


def cosine(progress: float) -> float:
    """Half a cosine from 1 at progress 0 to 0 at progress 1, without restarts (Loshchilov and Hutter 2016)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "cosine": cosine,
}


def learning_rate(
    step: int, *, peak: float, start: float, warmup_steps: int, total_steps: int, decay: Schedule
) -> float:
    """-> the rate in force at update `step`, counted from 0.

    A linear warm-up climbs from `start` at step 0 to `peak` at step `warmup_steps` (Goyal et al. 2017), where `decay`
    takes over: it would reach its end at `total_steps`, one past the last update. With `start` above 0 neither the
    first nor the last update is lost to a rate of 0.
    """
    if step < warmup_steps:
        return start + (peak - start) * step / warmup_steps
    return peak * decay((step - warmup_steps) / (total_steps - warmup_steps))
