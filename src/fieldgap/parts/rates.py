"""The learning rate of each step: a warm-up, then a schedule. WARMUPS maps a name to a shape of the warm-up."""

from __future__ import annotations

from collections.abc import Callable


def linear_warmup(share: float) -> float:
    """Return `share`: a line from the start to the peak (gradual warm-up, Goyal et al. 2017)."""
    return share


def constant_warmup(share: float) -> float:
    """Return 0: the start throughout, then a jump to the peak (He et al. 2015, section 4.2; torch's ConstantLR)."""
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
    """Return the learning rate of a step, counting from 0.

    With `start` above 0, neither the first nor the last update is lost to a rate of 0; transformers warms up from 0 and
    loses the first.

    Args:
        step: The number of updates before this one.
        peak: The rate at step `warmup_steps`, which `decay` multiplies from there on.
        start: The rate at step 0, if there is a warm-up.
        warmup_steps: The length of the warm-up, 0 for none.
        total_steps: The number of updates. Progress is 1 at this step, one past the last update.
        decay: Maps progress in [0, 1] to a factor of the peak.
        warmup: Maps the share of the warm-up that has passed to the share of the way from start to peak.
        hold: The number of updates in a block, all at the rate of the first one. With the steps of an epoch, the first
            epoch is at `start` and the first epoch after the warm-up at `peak`. A block that begins inside the warm-up
            stays in it to the block's end.
    """
    step -= step % hold
    if step < warmup_steps:
        return start + (peak - start) * warmup(step / warmup_steps)
    return peak * decay((step - warmup_steps) / (total_steps - warmup_steps))
