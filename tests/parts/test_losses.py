from __future__ import annotations

import importlib
import inspect
import math
from functools import partial

import pytest
import torch
from examples import usable
from torch import Tensor
from torch.autograd import gradcheck

from fieldgap.base.errors import InputError
from fieldgap.parts.losses import (
    IGNORE,
    LOSSES,
    Loss,
    cross_entropy,
    dice,
    focal,
    hinge,
    loss_named,
    lovasz_hinge,
    lovasz_softmax,
    squared_error,
    tversky,
)
from fieldgap.parts.registry import options_of

# Two pixels, two classes: probability 3/4 for the truth in one, 1/5 in the other.
PROBABILITIES = torch.tensor([[[[3 / 4, 4 / 5]], [[1 / 4, 1 / 5]]]])
TRUTH = torch.tensor([[[0, 1]]])
LOG = math.log

SHIPPED: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "dice": dice,
    "tversky": tversky,
    "lovasz_softmax": lovasz_softmax,
    "lovasz_hinge": lovasz_hinge,
    "hinge": hinge,
    "squared_error": squared_error,
    "weighted cross_entropy": partial(cross_entropy, weights=(1.0, 4.0)),
    "smoothed cross_entropy": partial(cross_entropy, weights=(1.0, 4.0), label_smoothing=0.2),
    "flat focal": partial(focal, gamma=0.0),
    "root focal": partial(focal, gamma=0.5, weights=(0.25, 0.75)),
    "unsmoothed dice": partial(dice, smooth=0.0),
    "lopsided tversky": partial(tversky, alpha=0.0, beta=1.0, smooth=0.0),
    "wide hinge": partial(hinge, margin=3.0),
    "sum": loss_named("dice + 0.5*hinge", {}),
}
EVERY = {**{name: usable(loss) for name, loss in LOSSES.items() if name not in SHIPPED}, **SHIPPED}
every = pytest.mark.parametrize("loss", EVERY.values(), ids=EVERY)
MULTICLASS = [loss for name, loss in SHIPPED.items() if name in LOSSES and loss is not lovasz_hinge]
BACKGROUND = torch.zeros(1, 2, 2, dtype=torch.int64)


def drawn(seed: int, classes: int = 2, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return logits (2, classes, 5, 7) that require a gradient, and targets (2, 5, 7)."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(2, classes, 5, 7, generator=generator)
    return logits.requires_grad_(), torch.randint(classes, (2, 5, 7), generator=generator)


def certain(target: Tensor, distance: float) -> Tensor:
    """Return two logits per pixel, the true one `distance` above the other."""
    return distance / 2 * torch.stack([1 - 2 * target, 2 * target - 1], dim=1)


def gradient(loss: Loss, logits: Tensor, target: Tensor) -> Tensor:
    return torch.autograd.grad(loss(logits, target), logits)[0]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (cross_entropy, -(LOG(3 / 4) + LOG(1 / 5)) / 2),
        (partial(cross_entropy, weights=(1.0, 3.0)), -(1 * LOG(3 / 4) + 3 * LOG(1 / 5)) / 4),
        (
            partial(cross_entropy, label_smoothing=0.2),
            -(0.9 * LOG(3 / 4) + 0.1 * LOG(1 / 4) + 0.9 * LOG(1 / 5) + 0.1 * LOG(4 / 5)) / 2,
        ),
        (focal, -((1 / 4) ** 2 * LOG(3 / 4) + (4 / 5) ** 2 * LOG(1 / 5)) / 2),
        (
            partial(focal, gamma=1.0, weights=(0.25, 0.75)),
            -(0.25 * (1 / 4) * LOG(3 / 4) + 0.75 * (4 / 5) * LOG(1 / 5)) / 2,
        ),
        # Of class 0: TP 3/4, FP 4/5, FN 1/4. Of class 1: TP 1/5, FP 1/4, FN 4/5.
        (
            partial(dice, smooth=0.0),
            1 - (1.5 / (1.5 + 0.8 + 0.25) + 0.4 / (0.4 + 0.25 + 0.8)) / 2,
        ),
        (dice, 1 - (3.5 / (3.5 + 0.8 + 0.25) + 2.4 / (2.4 + 0.25 + 0.8)) / 2),
        (
            partial(tversky, alpha=0.1, beta=0.6, smooth=0.5),
            1 - (1.25 / (1.25 + 0.1 * 0.8 + 0.6 * 0.25) + 0.7 / (0.7 + 0.1 * 0.25 + 0.6 * 0.8)) / 2,
        ),
        # Errors of class 0 are 0.8 outside and 0.25 inside, each worth half of the union. Class 1 has 0.8 inside.
        (lovasz_softmax, ((0.8 * 1 / 2 + 0.25 * 1 / 2) + 0.8) / 2),
        (hinge, (max(0, 1 - LOG(3)) + (1 + LOG(4))) / 2),
        (partial(hinge, margin=2.0), ((2 - LOG(3)) + (2 + LOG(4))) / 2),
        (squared_error, (2 * (1 / 4) ** 2 + 2 * (4 / 5) ** 2) / 2),
    ],
)
def test_a_hand_computed_case(loss: Loss, expected: float) -> None:
    assert loss(PROBABILITIES.log(), TRUTH).item() == pytest.approx(expected, rel=1e-6)


def test_lovasz_hinge_of_a_hand_computed_case() -> None:
    """The errors are 3 (background), 1 and 0 (farmland); 1 - IoU with the first 1, 2, 3 pixels wrong is 1/3, 2/3, 1."""
    logits = torch.tensor([[[[0.0, 1.0, -4.0]], [[2.0, 1.0, -3.0]]]])
    assert lovasz_hinge(logits, torch.tensor([[[0, 1, 1]]])).item() == pytest.approx(3 / 3 + 1 / 3 + 0 / 3)


def test_hinge_of_three_classes_compares_with_the_highest_other_logit() -> None:
    logits = torch.tensor([[[[1.0]], [[2.5]], [[3.0]]]])
    assert hinge(logits, torch.tensor([[[1]]])).item() == 1 - (2.5 - 3)


def test_squared_error_of_three_classes() -> None:
    logits = torch.tensor([[[[1 / 2]], [[1 / 3]], [[1 / 6]]]]).log()
    expected = (1 / 2) ** 2 + (1 / 3 - 1) ** 2 + (1 / 6) ** 2
    assert squared_error(logits, torch.tensor([[[1]]])).item() == pytest.approx(expected)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [(), (1.0, 2.0, 0.5)])
def test_cross_entropy_is_torchs_with_its_gradient(label_smoothing: float, weights: tuple[float, ...]) -> None:
    logits, target = drawn(0, classes=3)
    target[:, :2] = IGNORE
    ours = partial(cross_entropy, label_smoothing=label_smoothing, weights=weights)
    theirs = torch.nn.CrossEntropyLoss(
        torch.tensor(weights) if weights else None, ignore_index=IGNORE, label_smoothing=label_smoothing
    )
    torch.testing.assert_close(ours(logits, target), theirs(logits, target))
    torch.testing.assert_close(gradient(ours, logits, target), gradient(theirs, logits, target))


def test_hinge_of_two_classes_is_twice_torchs() -> None:
    """Torch divides by the number of classes."""
    logits, target = drawn(0)
    theirs = torch.nn.functional.multi_margin_loss(logits.movedim(1, -1).reshape(-1, 2), target.flatten())
    torch.testing.assert_close(hinge(logits, target), 2 * theirs)


def test_focal_without_gamma_is_cross_entropy() -> None:
    logits, target = drawn(0, classes=3)
    torch.testing.assert_close(focal(logits, target, gamma=0.0), cross_entropy(logits, target))


def test_losses_are_those_of_smp_if_every_class_is_present() -> None:
    theirs = importlib.import_module("segmentation_models_pytorch.losses")
    logits, target = drawn(0, classes=3)
    target[:, :2] = IGNORE
    pairs: list[tuple[Loss, Loss]] = [
        (partial(dice, smooth=0.0), theirs.DiceLoss("multiclass", ignore_index=IGNORE)),
        (partial(dice, smooth=2.0), theirs.DiceLoss("multiclass", ignore_index=IGNORE, smooth=2.0)),
        (tversky, theirs.TverskyLoss("multiclass", ignore_index=IGNORE, alpha=0.3, beta=0.7, smooth=1.0)),
        (lovasz_softmax, theirs.LovaszLoss("multiclass", ignore_index=IGNORE)),
    ]
    for ours, smps in pairs:
        torch.testing.assert_close(ours(logits, target), smps(logits, target))
        torch.testing.assert_close(gradient(ours, logits, target), gradient(smps, logits, target))


def test_losses_are_those_of_smp_in_binary_mode_on_the_difference_of_two_logits() -> None:
    theirs = importlib.import_module("segmentation_models_pytorch.losses")
    logits, target = drawn(0)
    difference = logits.diff(dim=1)
    pairs: list[tuple[Loss, Loss]] = [
        (focal, theirs.FocalLoss("binary")),
        (partial(focal, gamma=1.5, weights=(0.75, 0.25)), theirs.FocalLoss("binary", gamma=1.5, alpha=0.25)),
        (lovasz_hinge, theirs.LovaszLoss("binary")),
    ]
    for ours, smps in pairs:
        torch.testing.assert_close(ours(logits, target), smps(difference, target))


@pytest.mark.parametrize("loss", SHIPPED.values(), ids=SHIPPED)
def test_a_perfect_prediction_costs_nothing(loss: Loss) -> None:
    """Except under label smoothing, for which it is not perfect."""
    target = torch.tensor([[[0, 0], [1, 1]]])
    smoothed = SHIPPED["smoothed cross_entropy"]
    assert loss(certain(target, 200.0), target).item() == pytest.approx(20.0 if loss is smoothed else 0, abs=1e-6)


@pytest.mark.parametrize(
    ("loss", "most"),
    [
        (cross_entropy, 100),
        (focal, 100),
        (partial(dice, smooth=0.0), 1),
        (dice, 2 / 3),  # Two false and two missed pixels per class, and one pixel of smoothing.
        (partial(tversky, smooth=0.0), 1),
        (lovasz_softmax, 1),
        (lovasz_hinge, 101),
        (hinge, 101),
        (squared_error, 2),
    ],
)
def test_the_worst_prediction_costs_the_most(loss: Loss, most: float) -> None:
    target = torch.tensor([[[0, 0], [1, 1]]])
    assert loss(certain(target, -100.0), target).item() == pytest.approx(most, rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (cross_entropy, -LOG(3 / 4)),
        (focal, -((1 / 4) ** 2) * LOG(3 / 4)),
        # The absent class has probability 1/4 at four pixels, so FP 1. The other one has TP 3 and FN 1.
        (tversky, (0.3 / 1.3 + 0.7 / 4.7) / 2),
        (partial(tversky, smooth=0.0), (1 + 0.7 / 3.7) / 2),
        (dice, (0.5 / 1.5 + 0.5 / 4.5) / 2),
        (partial(dice, smooth=0.0), (1 + 1 / 7) / 2),
        (lovasz_softmax, 1 / 4),
        (lovasz_hinge, 1 - LOG(3 / 2)),
        (hinge, 1 - LOG(3 / 2)),
        (squared_error, 1 / 8),
    ],
)
def test_a_tile_without_farmland(loss: Loss, expected: float) -> None:
    odds = 3 / 2 if loss in {hinge, lovasz_hinge} else 3.0
    logits = torch.tensor([odds, 1.0]).log().reshape(1, 2, 1, 1).repeat(1, 1, 2, 2).requires_grad_()
    assert loss(logits, BACKGROUND).item() == pytest.approx(expected, rel=1e-6)
    assert gradient(loss, logits, BACKGROUND).isfinite().all()


def test_lovasz_without_farmland_is_a_mean_in_softmax_and_the_largest_error_in_hinge() -> None:
    logits = torch.tensor([[[[3.0, 2.0]], [[1.0, 2.0]]]]).log()
    target = torch.tensor([[[0, 0]]])
    assert lovasz_softmax(logits, target).item() == pytest.approx((1 / 4 + 1 / 2) / 2)
    assert lovasz_hinge(logits, target).item() == pytest.approx(max(1 - LOG(3), 1.0))


@every
def test_ignored_pixels_count_as_if_cut_off(loss: Loss) -> None:
    """Whatever their logits are, NaN included."""
    logits, target = drawn(0)
    target[:, :, 4:] = IGNORE
    cut = logits[..., :4].detach().requires_grad_()
    expected = gradient(loss, cut, target[..., :4])
    for ignored in (0.0, 1e6, math.nan):
        changed = logits.detach().clone()
        changed[..., 4:] = ignored
        changed.requires_grad_()
        torch.testing.assert_close(loss(changed, target), loss(cut, target[..., :4]), rtol=1e-6, atol=0)
        slope = gradient(loss, changed, target)
        torch.testing.assert_close(slope[..., :4], expected, rtol=1e-5, atol=1e-8)
        assert not slope[..., 4:].any()


@every
def test_only_ignored_pixels_give_zero_with_zero_gradient(loss: Loss) -> None:
    logits, target = drawn(0)
    target[:] = IGNORE
    assert loss(logits, target).item() == 0
    assert not gradient(loss, logits, target).any()


def test_cross_entropy_of_classes_that_all_weigh_nothing_is_zero() -> None:
    assert cross_entropy(torch.randn(1, 2, 2, 2), BACKGROUND, weights=(0.0, 1.0)) == 0


@every
@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_the_slope(loss: Loss, seed: int) -> None:
    logits, target = drawn(seed)
    target[:, 0, :3] = IGNORE
    assert gradcheck(loss, (logits.detach().double().requires_grad_(), target))


@pytest.mark.parametrize("loss", MULTICLASS)
def test_the_gradient_is_the_slope_with_three_classes(loss: Loss) -> None:
    logits, target = drawn(0, classes=3)
    assert gradcheck(loss, (logits.detach().double().requires_grad_(), target))


@pytest.mark.parametrize("loss", MULTICLASS)
def test_the_order_of_three_classes_does_not_matter(loss: Loss) -> None:
    logits, target = drawn(0, classes=3)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(loss(logits[:, order], order.argsort()[target]), loss(logits, target))


@every
def test_bfloat16_is_widened_before_any_arithmetic(loss: Loss) -> None:
    logits, target = drawn(0)
    narrow = logits.detach().bfloat16().requires_grad_()
    assert loss(narrow, target).dtype is torch.float32
    assert loss(narrow, target) == loss(narrow.float(), target)
    assert loss(narrow, target).item() == pytest.approx(loss(logits, target).item(), rel=2**-7)
    assert gradient(loss, narrow, target).dtype is torch.bfloat16


@every
@pytest.mark.parametrize("seed", range(10))
def test_large_logits_give_finite_losses_of_0_or_more(loss: Loss, seed: int) -> None:
    logits, target = drawn(seed, scale=100.0)
    value = loss(logits, target)
    assert value.isfinite()
    assert value >= 0
    assert gradient(loss, logits, target).isfinite().all()


def test_lovasz_keeps_its_gradient_on_a_million_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 1024, 1024, generator=generator, requires_grad=True)
    target = torch.randint(2, (1, 1024, 1024), generator=generator)
    exact = gradient(lovasz_hinge, logits.detach().double().requires_grad_(), target)
    assert (gradient(lovasz_hinge, logits, target) - exact).norm() < 1e-5 * exact.norm()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only CUDA has operations without a fixed order")
def test_cuda_repeats_itself() -> None:
    logits, target = (tensor.detach().cuda() for tensor in drawn(0))
    target[:, 0] = IGNORE
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        for loss in EVERY.values():
            first, second = (gradient(loss, logits.requires_grad_(), target) for _ in range(2))
            assert torch.equal(first, second)
    finally:
        torch.use_deterministic_algorithms(before)


def test_a_sum_is_the_sum_of_its_parts() -> None:
    logits, target = drawn(0)
    parts = dice(logits, target), cross_entropy(logits, target)
    torch.testing.assert_close(loss_named("dice+cross_entropy", {})(logits, target), parts[0] + parts[1])
    torch.testing.assert_close(
        loss_named("0.5*dice + 3*cross_entropy", {})(logits, target), 0.5 * parts[0] + 3 * parts[1]
    )
    torch.testing.assert_close(loss_named("2*dice", {})(logits, target), 2 * parts[0])
    assert loss_named("dice", {}) is dice


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("dice+dyce", r"there is no 'dyce'; known: cross_entropy, .*squared_error"),
        ("dice+", r"there is no ''; known: "),
        ("half*dice", r"'half' is not a factor of 0 or more; write 0.5\*dice"),
        ("-1*dice", "'-1' is not a factor"),
        ("inf*dice", "'inf' is not a factor"),
        ("*dice", "'' is not a factor"),
    ],
)
def test_what_is_wrong_in_a_sum_is_named(name: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        loss_named(name, {})


@pytest.mark.parametrize("values", [(1.0,), (1.0, 1.0, 1.0), (1.0, -1.0)])
def test_class_weights_must_fit_the_classes(values: tuple[float, ...]) -> None:
    for loss in (partial(cross_entropy, weights=values), partial(focal, weights=values)):
        with pytest.raises(InputError, match=r"class weights .*: give 2 of 0 or more, one per class"):
            loss(PROBABILITIES.log(), TRUTH)


def test_lovasz_hinge_needs_two_classes() -> None:
    with pytest.raises(InputError, match="loss: lovasz_hinge needs 2 classes, not 3; use lovasz_softmax"):
        lovasz_hinge(*drawn(0, classes=3))


@pytest.mark.parametrize("name", LOSSES)
def test_every_registered_loss_has_logits_a_target_and_options(name: str) -> None:
    assert list(inspect.signature(LOSSES[name]).parameters) == ["logits", "target", *options_of(LOSSES[name])]
