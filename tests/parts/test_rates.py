"""The rates of a whole training; tests/parts/test_schedules.py compares them with those of libraries."""

from __future__ import annotations

from functools import partial

import pytest

from fieldgap.parts.rates import WARMUPS, learning_rate
from fieldgap.parts.schedules import constant, cosine

RATE = partial(learning_rate, peak=0.1, start=1e-9, warmup_steps=4, total_steps=12, decay=cosine)


def test_the_schedule_takes_over_at_the_peak() -> None:
    assert RATE(4) == pytest.approx(0.1)
    assert RATE(8) == pytest.approx(0.05)
    assert RATE(12) == pytest.approx(0)


def test_a_linear_warmup_is_a_line_from_its_start_to_the_peak() -> None:
    rate = partial(RATE, start=0.02)
    assert [rate(step) for step in range(5)] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])


def test_a_constant_warmup_stays_at_its_start_and_jumps_to_the_peak() -> None:
    rate = partial(RATE, start=0.02, warmup=WARMUPS["constant"], decay=constant)
    assert [rate(step) for step in range(6)] == [0.02, 0.02, 0.02, 0.02, 0.1, 0.1]


def test_without_a_warmup_the_rate_starts_at_the_peak() -> None:
    assert RATE(0, warmup_steps=0) == 0.1


def test_a_held_rate_is_that_of_the_first_step_of_its_block() -> None:
    rates = [RATE(step) for step in range(12)]
    assert [RATE(step, hold=4) for step in range(12)] == [rates[0]] * 4 + [rates[4]] * 4 + [rates[8]] * 4
    assert [RATE(step, hold=1) for step in range(12)] == rates


def test_held_for_an_epoch_the_first_epoch_is_at_the_start_and_the_last_of_the_warmup_below_the_peak() -> None:
    rate = partial(RATE, start=0.02, warmup_steps=6, hold=3)
    assert [rate(step) for step in range(7)] == pytest.approx([0.02] * 3 + [0.06] * 3 + [0.1])


def test_a_block_that_begins_inside_the_warmup_stays_in_it() -> None:
    rate = partial(RATE, start=0.02, hold=3, decay=constant)
    assert [rate(step) for step in range(3, 7)] == pytest.approx([0.08] * 3 + [0.1])
