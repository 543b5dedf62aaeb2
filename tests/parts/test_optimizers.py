from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

from fieldgap.base.errors import InputError
from fieldgap.parts.optimizers import OPTIMIZERS, make_optimizer


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))


def test_the_list_is_torchs_without_those_that_need_a_closure_sparse_gradients_or_matrices() -> None:
    known = {name for name in vars(optim) if isinstance(getattr(optim, name), type)}
    classes = {name for name in known if issubclass(getattr(optim, name), optim.Optimizer)}
    assert set(OPTIMIZERS) == classes - {"Optimizer", "LBFGS", "SparseAdam", "Muon"}
    assert list(OPTIMIZERS) == sorted(OPTIMIZERS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_moves_every_parameter(name: str) -> None:
    net = small_net()
    before = [parameter.clone() for parameter in net.parameters()]
    optimizer = make_optimizer(net, name, lr=0.01, weight_decay=0.0, options={})
    for _ in range(2):
        optimizer.zero_grad()
        net(torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))).square().sum().backward()
        optimizer.step()
    for old, new in zip(before, net.parameters(), strict=True):
        # The gradient of a bias before a norm is only rounding error.
        assert not torch.equal(old, new)


def test_decay_shrinks_weights_and_spares_biases_and_norms() -> None:
    """If gradients are 0, a step of plain gradient descent multiplies a weight by 1 - lr * decay."""
    net = small_net()
    before = {name: parameter.clone() for name, parameter in net.named_parameters()}
    optimizer = make_optimizer(net, "SGD", lr=0.1, weight_decay=0.5, options={})
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in net.named_parameters():
        factor = 0.95 if name in ("0.weight", "3.weight") else 1.0
        torch.testing.assert_close(parameter, before[name] * factor)


def nesterov(weight: float, gradients: list[float], lr: float, momentum: float) -> float:
    """Return a weight after torch's steps: the velocity is not scaled by the rate (Sutskever et al. 2013)."""
    velocity = 0.0
    for index, gradient in enumerate(gradients):
        velocity = gradient if index == 0 else momentum * velocity + gradient
        weight -= lr * (gradient + momentum * velocity)
    return weight


def test_nesterov_by_hand() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 2.0)
    optimizer = make_optimizer(net, "SGD", lr=0.1, weight_decay=0.0, options={"momentum": 0.9, "nesterov": True})
    for gradient in (1.0, -0.5, 0.25):
        net.weight.grad = Tensor([[gradient]])
        optimizer.step()
    assert net.weight.item() == pytest.approx(nesterov(2.0, [1.0, -0.5, 0.25], 0.1, 0.9))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentun": 0.9}, r"options\.SGD: .*momentun.*; see torch\.optim\.SGD"),
        ({"momentum": -1}, r"options\.SGD: Invalid momentum value: -1"),
    ],
)
def test_an_option_that_an_optimizer_refuses_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_optimizer(small_net(), "SGD", lr=0.1, weight_decay=0.0, options=options)
