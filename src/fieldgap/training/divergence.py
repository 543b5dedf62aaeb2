"""When a run has diverged: a loss or a score that is not finite, or an epoch of exploded losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

_EXPLODED = 1000.0  # Times the first loss, or this itself if that is more.


class DivergedError(Exception):
    """A run has diverged. The message is the reason that status.json gives."""


def check_loss(step: int, loss: float) -> None:
    """Raise DivergedError for a loss that is infinite or not a number."""
    if not math.isfinite(loss):
        raise DivergedError(f"the loss of step {step} is {loss}")


def check_epoch(steps: Sequence[Mapping[str, float]], first_loss: float) -> None:
    """Raise DivergedError when the losses of all steps of an epoch have exploded. A spike does not count.

    Args:
        steps: The rows of the epoch's steps.
        first_loss: The loss of the run's first step.
    """
    bound = _EXPLODED * max(1.0, first_loss)
    if min(row["loss"] for row in steps) > bound:
        raise DivergedError(f"each batch of epoch {steps[0]['epoch']} has a loss above {bound:g}")


def check_row(row: Mapping[str, float]) -> None:
    """Raise DivergedError when a value of an epoch's row is infinite or not a number."""
    for name, value in row.items():
        if not math.isfinite(value):
            raise DivergedError(f"{name} of epoch {row['epoch']} is {value}")
