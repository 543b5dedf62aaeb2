from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from fieldgap.schedules import SCHEDULES, constant, cosine, learning_rate

RATE = partial(learning_rate, peak=0.1, start=1e-9, warmup_steps=4, total_steps=12, decay=cosine)


def test_warmup_hands_over_at_the_peak() -> None:
    assert RATE(4) == pytest.approx(0.1)
    assert RATE(8) == pytest.approx(0.05)
    assert RATE(12) == pytest.approx(0)


def test_warmup_climbs_on_a_line_from_its_start() -> None:
    rate = partial(RATE, start=0.02)
    assert [rate(step) for step in range(5)] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])


def test_no_update_is_lost_to_a_rate_of_zero() -> None:
    assert all(RATE(step) > 0 for step in range(12))


def test_no_warmup_starts_at_the_peak() -> None:
    assert RATE(0, warmup_steps=0) == 0.1


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_cosine_is_torchs_cosine_annealing_at_each_step(steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    rate = partial(learning_rate, peak=0.3, start=0.1, warmup_steps=0, total_steps=steps, decay=cosine)
    for step in range(steps):
        assert rate(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        reference.step()


@pytest.mark.parametrize("progress", [0, 0.1, 0.5, 0.9, 1])
def test_factors_are_their_closed_forms(progress: float) -> None:
    assert cosine(progress) == pytest.approx(math.cos(math.pi * progress / 2) ** 2)
    assert constant(progress) == 1


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_starts_at_the_peak(name: str) -> None:
    assert SCHEDULES[name](0) == 1
