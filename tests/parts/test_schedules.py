from __future__ import annotations

import importlib
import inspect
import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import torch
from examples import usable
from torch.optim import lr_scheduler

from fieldgap.base.errors import InputError
from fieldgap.parts.rates import WARMUPS, learning_rate
from fieldgap.parts.registry import options_of
from fieldgap.parts.schedules import SCHEDULES, article_warmup_cosine, cosine

STEPS = 60
PEAK = 0.3

Options = dict[str, Any]

# Name, options, and the factor at step k of STEPS. Schedules added later are tested without an entry here.
CLOSED_FORMS: list[tuple[str, Options, Callable[[int], float]]] = [
    ("constant", {}, lambda k: 1),
    ("step", {"every": 0.1}, lambda k: 10.0 ** -(k // 6)),
    ("step", {"every": 1 / 3, "factor": 0.5}, lambda k: 0.5 ** (k // 20)),
    ("step", {"every": 1}, lambda k: 1 if k < 60 else 0.1),
    ("multi_step", {"milestones": (0.5, 0.75)}, lambda k: 1 if k < 30 else 0.1 if k < 45 else 0.01),
    ("multi_step", {"milestones": (0.3,), "factor": 0.0}, lambda k: float(k < 18)),
    (
        "piecewise_constant",
        {"milestones": (0.1, 0.7), "factors": (0.2, 0.5)},
        lambda k: 1 if k < 6 else 0.2 if k < 42 else 0.5,
    ),
    ("exponential", {"final": 0.01}, lambda k: math.exp(k / 60 * math.log(0.01))),
    ("polynomial", {"power": 1}, lambda k: (60 - k) / 60),
    ("polynomial", {"power": 2, "final": 0.1}, lambda k: 0.1 + 0.9 * (60 - k) * (60 - k) / 3600),
    ("inverse_sqrt", {"timescale": 0.25}, lambda k: math.sqrt(15 / (15 + k))),
    ("inverse_sqrt", {"timescale": 2}, lambda k: math.sqrt(120 / (120 + k))),
    ("cosine", {}, lambda k: math.cos(math.pi * k / 120) ** 2),
    ("cosine", {"final": 0.2}, lambda k: 1 - 0.8 * math.sin(math.pi * k / 120) ** 2),
    ("cosine_restarts", {"cycles": 3}, lambda k: math.cos(math.pi * (k % 20) / 40) ** 2 if k < 60 else 0),
    (
        "cosine_restarts",
        {"cycles": 2, "growth": 2},
        lambda k: math.cos(math.pi * (k / 40 if k < 20 else (k - 20) / 80)) ** 2,
    ),
    ("cosine_restarts", {"cycles": 1, "growth": 1.5}, lambda k: math.cos(math.pi * k / 120) ** 2),
    ("triangular", {"cycles": 3, "low": 0.25}, lambda k: 0.25 + 0.75 * min(k % 20, -k % 20) / 10),
    (
        "one_cycle",
        {},
        lambda k: (
            1 - 24 / 25 * math.cos(math.pi * k / 36) ** 2
            if k < 18
            else 4e-6 + (1 - 4e-6) * math.cos(math.pi * (k - 18) / 84) ** 2
        ),
    ),
    (
        "one_cycle",
        {"peak_at": 0.5, "start_divisor": 4, "final_divisor": 2},
        lambda k: (
            0.25 + 0.75 * math.sin(math.pi * k / 60) ** 2 if k < 30 else 1 - 0.875 * math.cos(math.pi * k / 60) ** 2
        ),
    ),
    ("warmup_stable_decay", {"decay": 0.25}, lambda k: min(1, (60 - k) / 15)),
    (
        "warmup_stable_decay",
        {"decay": 0.2, "shape": "cosine", "final": 0.1},
        lambda k: 1 if k < 48 else 0.1 + 0.9 * math.cos(math.pi * (k - 48) / 24) ** 2,
    ),
    (
        "warmup_stable_decay",
        {"decay": 1, "shape": "1-sqrt", "final": 0.5},
        lambda k: 1 - 0.5 * math.sqrt(k / 60),
    ),
    ("article_warmup_cosine", {"epochs": 6}, lambda k: article_at(k, 6)),
    ("article_warmup_cosine", {"epochs": 1}, lambda k: 1 if k < 60 else 0),
]


def article_at(k: int, epochs: int) -> float:
    """Return what the article's loop computes: it overwrites base_lr after each epoch."""
    base_lr = 1.0
    for epoch in range(1, k * epochs // STEPS + 1):
        base_lr *= (1 + math.cos(math.pi * epoch / epochs)) / 2
    return base_lr


IDS = [" ".join([name, *map(str, options.values())]) for name, options, _ in CLOSED_FORMS]
every_form = pytest.mark.parametrize(("name", "options", "expected"), CLOSED_FORMS, ids=IDS)


def library(make: Callable[[torch.optim.Optimizer], Any], steps: int = STEPS) -> list[float]:
    """Return the rate of each update of a run under a scheduler of a library."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    scheduler = make(optimizer)
    rates = []
    for update in range(1, steps + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step() if isinstance(scheduler, lr_scheduler.LRScheduler) else scheduler.step_update(update)
    return rates


def ours(name: str, options: Options, **timing: Any) -> list[float]:
    """Return the rate of each update of a run under one of our schedules."""
    values = {"start": 0.1, "warmup_steps": 0, "total_steps": STEPS, **timing}
    decay = partial(SCHEDULES[name], **options)
    return [learning_rate(step, peak=PEAK, decay=decay, **values) for step in range(STEPS)]


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_registered_schedule_is_a_pure_function_to_factors_of_0_or_more(name: str) -> None:
    schedule = usable(SCHEDULES[name])
    factors = [schedule(step / 997) for step in range(998)]
    assert all(math.isfinite(factor) and factor >= 0 for factor in factors)
    assert [schedule(step / 997) for step in reversed(range(998))] == factors[::-1], "the order of calls plays no part"


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_registered_schedule_has_progress_and_options(name: str) -> None:
    progress, *options = inspect.signature(SCHEDULES[name]).parameters
    assert progress == "progress"
    assert options == list(options_of(SCHEDULES[name]))


@every_form
def test_schedules_are_their_closed_forms_at_every_step(
    name: str, options: Options, expected: Callable[[int], float]
) -> None:
    factors = [SCHEDULES[name](step / STEPS, **options) for step in range(STEPS + 1)]
    assert factors == pytest.approx([expected(step) for step in range(STEPS + 1)], rel=1e-9, abs=1e-12)


@every_form
def test_schedules_start_at_the_peak_unless_they_climb(
    name: str, options: Options, expected: Callable[[int], float]
) -> None:
    climbs = {"triangular": options.get("low"), "one_cycle": 1 / options.get("start_divisor", 25)}
    assert SCHEDULES[name](0, **options) == pytest.approx(climbs.get(name, 1), rel=1e-15)


@every_form
def test_factors_stay_between_0_and_the_peak(name: str, options: Options, expected: Callable[[int], float]) -> None:
    factors = [SCHEDULES[name](step / 997, **options) for step in range(998)]
    assert all(0 <= factor <= 1 + 1e-12 for factor in factors)


@pytest.mark.parametrize("cycles", range(1, 120))
def test_drops_and_restarts_are_not_late_by_a_rounding_error(cycles: int) -> None:
    starts = [cycle * 7 / (cycles * 7) for cycle in range(cycles)]
    step, restarts, article = (SCHEDULES[name] for name in ("step", "cosine_restarts", "article_warmup_cosine"))
    assert [step(start, every=1 / cycles, factor=0.5) for start in starts] == [0.5**n for n in range(cycles)]
    assert [restarts(start, cycles=cycles) for start in starts] == pytest.approx([1] * cycles)
    calls = itertools.accumulate((cosine(n / cycles) for n in range(cycles)), lambda rate, factor: rate * factor)
    assert [article(start, epochs=cycles) for start in starts] == pytest.approx(list(calls))


TORCH = [
    ("constant", {}, partial(lr_scheduler.ConstantLR, factor=1)),
    ("step", {"every": 0.1}, partial(lr_scheduler.StepLR, step_size=6)),
    ("step", {"every": 1 / 3, "factor": 0.5}, partial(lr_scheduler.StepLR, step_size=20, gamma=0.5)),
    ("multi_step", {"milestones": (0.3, 0.8)}, partial(lr_scheduler.MultiStepLR, milestones=[18, 48])),
    ("exponential", {"final": 0.01}, partial(lr_scheduler.ExponentialLR, gamma=0.01 ** (1 / STEPS))),
    ("polynomial", {"power": 0.9}, partial(lr_scheduler.PolynomialLR, total_iters=STEPS, power=0.9)),
    ("cosine", {"final": 0.1}, partial(lr_scheduler.CosineAnnealingLR, T_max=STEPS, eta_min=0.1 * PEAK)),
    ("cosine_restarts", {"cycles": 3}, partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=20)),
    ("cosine_restarts", {"cycles": 4, "growth": 2}, partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=4, T_mult=2)),
    (
        "triangular",
        {"cycles": 3, "low": 0.25},
        partial(lr_scheduler.CyclicLR, base_lr=0.25 * PEAK, max_lr=PEAK, step_size_up=10, cycle_momentum=False),
    ),
]


@pytest.mark.parametrize(("name", "options", "make"), TORCH, ids=[f"{name} {options}" for name, options, _ in TORCH])
def test_the_rates_are_torchs(name: str, options: Options, make: Callable[[torch.optim.Optimizer], Any]) -> None:
    assert ours(name, options) == pytest.approx(library(make), rel=1e-9)


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_cosine_is_torchs_cosine_annealing_at_any_length(steps: int) -> None:
    rate = partial(learning_rate, peak=PEAK, start=0.1, warmup_steps=0, total_steps=steps, decay=cosine)
    expected = library(partial(lr_scheduler.CosineAnnealingLR, T_max=steps), steps)
    assert [rate(step) for step in range(steps)] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("cycles", [2, 3])
def test_warm_restarts_end_with_the_run_where_torch_restarts(cycles: int) -> None:
    make = partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=STEPS // cycles)
    assert library(make, STEPS + 1)[STEPS] == PEAK
    assert SCHEDULES["cosine_restarts"](1, cycles=cycles) == 0


def one_cycle_lr(total_steps: int, peak_at: float) -> Callable[[torch.optim.Optimizer], Any]:
    values: Options = {"max_lr": PEAK, "total_steps": total_steps, "pct_start": peak_at, "cycle_momentum": False}
    return partial(lr_scheduler.OneCycleLR, **values)


def test_one_cycle_is_torchs_run_of_one_more_step() -> None:
    expected = library(one_cycle_lr(STEPS + 1, peak_at=(0.3 * STEPS + 1) / (STEPS + 1)))
    assert ours("one_cycle", {}) == pytest.approx(expected, rel=1e-9)


def test_one_cycle_keeps_the_last_update_that_torch_wastes() -> None:
    rates, expected = ours("one_cycle", {}), library(one_cycle_lr(STEPS, peak_at=0.3))
    assert (rates.index(max(rates)), expected.index(max(expected))) == (18, 17)
    assert expected[-1] == pytest.approx(PEAK / 250_000)
    assert rates[-1] > 300 * expected[-1]


TRANSFORMERS: list[tuple[str, Options, str, Options]] = [
    ("constant", {}, "get_constant_schedule_with_warmup", {}),
    ("cosine", {}, "get_cosine_schedule_with_warmup", {"num_training_steps": STEPS}),
    ("polynomial", {"power": 1}, "get_linear_schedule_with_warmup", {"num_training_steps": STEPS}),
    (
        "polynomial",
        {"power": 2, "final": 0.1},
        "get_polynomial_decay_schedule_with_warmup",
        {"num_training_steps": STEPS, "power": 2, "lr_end": 0.1 * PEAK},
    ),
    ("inverse_sqrt", {"timescale": 10 / 50}, "get_inverse_sqrt_schedule", {}),
    ("inverse_sqrt", {"timescale": 75 / 50}, "get_inverse_sqrt_schedule", {"timescale": 75}),
    (
        "cosine_restarts",
        {"cycles": 5},
        "get_cosine_with_hard_restarts_schedule_with_warmup",
        {"num_training_steps": STEPS, "num_cycles": 5},
    ),
    *(
        (
            "warmup_stable_decay",
            {"decay": 0.3, "shape": shape},
            "get_wsd_schedule",
            {"num_decay_steps": 15, "num_training_steps": STEPS, "decay_type": shape},
        )
        for shape in ("linear", "cosine", "1-sqrt")
    ),
]
every_transformer = pytest.mark.parametrize(
    ("name", "options", "function", "values"),
    TRANSFORMERS,
    ids=[f"{function} {' '.join(map(str, options.values()))}" for _, options, function, _ in TRANSFORMERS],
)


@pytest.fixture(scope="module")
def transformers() -> ModuleType:
    return importlib.import_module("transformers.optimization")


@pytest.fixture(scope="module")
def timm() -> ModuleType:
    return importlib.import_module("timm.scheduler")


@every_transformer
def test_rates_that_start_at_0_are_those_of_transformers(
    transformers: ModuleType, name: str, options: Options, function: str, values: Options
) -> None:
    expected = library(partial(getattr(transformers, function), num_warmup_steps=10, **values))
    # At the first step of 1-sqrt the slope is infinite and turns rounding of 1e-16 into 1e-8.
    assert ours(name, options, start=0, warmup_steps=10) == pytest.approx(expected, rel=1e-7)


@every_transformer
def test_transformers_loses_the_first_update_and_a_warmup_from_above_zero_does_not(
    transformers: ModuleType, name: str, options: Options, function: str, values: Options
) -> None:
    expected = library(partial(getattr(transformers, function), num_warmup_steps=10, **values))
    rates = ours(name, options, start=0.01, warmup_steps=10)
    assert (expected[0], rates[0]) == (0, 0.01)
    gaps = [rate - other for rate, other in zip(rates, expected, strict=True)]
    assert gaps == pytest.approx([0.01 * max(0, 10 - step) / 10 for step in range(STEPS)], abs=1e-7)


def test_rounding_costs_transformers_a_restart_but_not_us(transformers: ModuleType) -> None:
    hard_restarts = transformers.get_cosine_with_hard_restarts_schedule_with_warmup
    make = partial(hard_restarts, num_warmup_steps=0, num_training_steps=22 * 7, num_cycles=22)
    assert library(make, 22 * 7)[15 * 7] == 0
    assert SCHEDULES["cosine_restarts"](15 * 7 / (22 * 7), cycles=22) == pytest.approx(1)


def test_transformers_wsd_climbs_from_its_final_rate(transformers: ModuleType) -> None:
    make = partial(
        transformers.get_wsd_schedule,
        num_warmup_steps=10,
        num_decay_steps=15,
        num_training_steps=STEPS,
        min_lr_ratio=0.1,
    )
    options = {"decay": 0.3, "shape": "cosine", "final": 0.1}
    rates = ours("warmup_stable_decay", options, start=0.1 * PEAK, warmup_steps=10)
    assert rates == pytest.approx(library(make), rel=1e-9)


def test_a_warmed_up_cosine_is_timms_with_warmup_prefix(timm: ModuleType) -> None:
    make = partial(timm.CosineLRScheduler, lr_min=0.1 * PEAK, warmup_t=10, warmup_lr_init=0.01, t_in_epochs=False)
    rates = ours("cosine", {"final": 0.1}, start=0.01, warmup_steps=10)
    assert rates == pytest.approx(library(partial(make, t_initial=50, warmup_prefix=True)), rel=1e-9)


def test_without_warmup_prefix_timms_warmup_never_meets_the_peak(timm: ModuleType) -> None:
    make = partial(timm.CosineLRScheduler, t_initial=STEPS, warmup_t=10, warmup_lr_init=0.01, t_in_epochs=False)
    rates, expected = ours("cosine", {}, start=0.01, warmup_steps=10), library(make)
    assert rates[:10] == pytest.approx(expected[:10])
    assert (rates[10], expected[10]) == pytest.approx((PEAK, PEAK * math.cos(math.pi * 10 / 120) ** 2))
    assert expected[10] < 0.94 * PEAK


def test_a_schedule_held_for_an_epoch_is_timms_per_epoch_schedule(timm: ModuleType) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    scheduler = timm.CosineLRScheduler(optimizer, t_initial=8, warmup_t=4, warmup_lr_init=0.02, warmup_prefix=True)
    expected = []
    for epoch in range(1, 13):
        expected += [optimizer.param_groups[0]["lr"]] * 5
        scheduler.step(epoch)
    assert ours("cosine", {}, start=0.02, warmup_steps=20, hold=5) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("warmup", "make"),
    [
        ("linear", partial(lr_scheduler.LinearLR, start_factor=0.25)),
        ("constant", partial(lr_scheduler.ConstantLR, factor=0.25)),
    ],
)
def test_warmups_are_torchs(warmup: str, make: Callable[..., Any]) -> None:
    rates = ours("constant", {}, start=0.25 * PEAK, warmup_steps=7, warmup=WARMUPS[warmup])
    assert rates == pytest.approx(library(partial(make, total_iters=7)), rel=1e-9)


@every_form
def test_no_update_is_lost_to_a_rate_of_zero(name: str, options: Options, expected: Callable[[int], float]) -> None:
    rates = ours(name, {**options, "factor": 0.5} if "factor" in options else options, start=0.01, warmup_steps=10)
    assert [step for step, rate in enumerate(rates) if rate <= 0] == []


@pytest.mark.parametrize("epochs", [2, 10, 40])
def test_the_articles_slip_decays_faster_than_the_cosine_it_meant(epochs: int) -> None:
    slip, meant = (
        [f(call / epochs) for call in range(epochs)] for f in (partial(article_warmup_cosine, epochs=epochs), cosine)
    )
    assert slip[:2] == pytest.approx(meant[:2])
    assert all(ours < theirs for ours, theirs in zip(slip[2:], meant[2:], strict=True))


@pytest.mark.parametrize(("epochs", "factor"), [(10, 0.23), (40, 0.0086), (100, 1.2e-5)])
def test_the_articles_slip_at_half_time(epochs: int, factor: float) -> None:
    assert article_warmup_cosine(0.5, epochs=epochs) == pytest.approx(factor, rel=0.03)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("step", {"every": 0}, "every: 0 must be a share"),
        ("step", {"every": 1.5}, "every: 1.5 must be a share"),
        ("step", {"every": 0.5, "factor": -0.1}, "factor: -0.1 must be 0 or more"),
        ("multi_step", {"milestones": ()}, r"milestones: \(\) must be ascending"),
        ("multi_step", {"milestones": (0.7, 0.3)}, r"milestones: \(0.7, 0.3\) must be ascending"),
        ("multi_step", {"milestones": (0.3, 0.3)}, "milestones: .* must be ascending"),
        ("multi_step", {"milestones": (0, 0.3)}, "milestones: .* must be ascending"),
        ("multi_step", {"milestones": (0.3, 1)}, "milestones: .* must be ascending"),
        ("multi_step", {"milestones": (30, 60)}, "milestones: .* must be ascending"),
        ("multi_step", {"milestones": (math.nan,)}, "milestones: .* must be ascending"),
        ("multi_step", {"milestones": (0.3,), "factor": -1}, "factor: -1 must be 0 or more"),
        ("piecewise_constant", {"milestones": (0.5, 0.1), "factors": (1, 1)}, "milestones: .* must be ascending"),
        ("piecewise_constant", {"milestones": (0.1, 0.5), "factors": (1,)}, "factors: .* as many as the 2 milestones"),
        ("piecewise_constant", {"milestones": (0.1, 0.5), "factors": (1, -1)}, "factors: .* must be 0 or more each"),
        ("exponential", {"final": 0}, "final: 0 must be above 0"),
        ("polynomial", {"power": 0}, "power: 0 must be above 0"),
        ("polynomial", {"power": 1, "final": -0.1}, "final: -0.1 must be 0 or more"),
        ("inverse_sqrt", {"timescale": 0}, "timescale: 0 must be above 0"),
        ("cosine", {"final": -0.1}, "final: -0.1 must be 0 or more"),
        ("cosine_restarts", {"cycles": 0}, "cycles: 0 must be 1 or more"),
        ("cosine_restarts", {"cycles": 2, "growth": 0}, "growth: 0 must be above 0"),
        ("triangular", {"cycles": 0, "low": 0.1}, "cycles: 0 must be 1 or more"),
        ("triangular", {"cycles": 1, "low": -0.1}, "low: -0.1 must be a share"),
        ("triangular", {"cycles": 1, "low": 1.1}, "low: 1.1 must be a share"),
        ("one_cycle", {"peak_at": 0}, "peak_at: 0 must be a share"),
        ("one_cycle", {"peak_at": 1}, "peak_at: 1 must be a share"),
        ("one_cycle", {"start_divisor": 0.5}, "start_divisor: 0.5 must be 1 or more"),
        ("one_cycle", {"final_divisor": 0}, "final_divisor: 0 must be 1 or more"),
        ("warmup_stable_decay", {"decay": 0}, "decay: 0 must be a share"),
        ("warmup_stable_decay", {"decay": 1.1}, "decay: 1.1 must be a share"),
        ("warmup_stable_decay", {"decay": 0.1, "shape": "sqrt"}, "shape: 'sqrt' must be one of linear, cosine, 1-sqrt"),
        ("warmup_stable_decay", {"decay": 0.1, "final": -1}, "final: -1 must be 0 or more"),
        ("article_warmup_cosine", {"epochs": 0}, "epochs: 0 must be 1 or more"),
    ],
)
@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_a_bad_option_is_named_with_its_mend(name: str, options: Options, message: str, progress: float) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        SCHEDULES[name](progress, **options)


def test_the_schedules_load_without_torch_or_numpy() -> None:
    code = "import sys, fieldgap.parts.schedules; print([m for m in ('torch', 'numpy', 'yaml') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
