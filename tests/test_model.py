from __future__ import annotations

import math

import pytest
import torch
from conftest import TINY
from torch import nn

from fieldgap.inits import INITS
from fieldgap.model import Standardized, UNet, fans, initialise


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("depth", [1, 3])
def test_logits_have_the_size_of_the_image(norm: str, depth: int) -> None:
    assert UNet(4, depth, 2, norm)(torch.zeros(2, 3, 32, 48)).shape == (2, 2, 32, 48)


def test_the_default_network_has_the_size_that_the_documents_state() -> None:
    assert sum(p.numel() for p in UNet(8, 3, 2, "batch").parameters()) == 121_186


def test_standardisation_gives_mean_zero_and_deviation_one() -> None:
    pixels = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=generator())
    values = pixels.double().movedim(1, 0).flatten(1)
    net = Standardized(nn.Identity(), values.mean(1).tolist(), values.std(1).tolist())
    out = net(pixels).movedim(1, 0).flatten(1)
    torch.testing.assert_close(out.mean(1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(1), torch.ones(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(5, 2, 1), nn.Conv2d(4, 8, 2, stride=2), nn.ConvTranspose2d(6, 4, 2, 2)],
)
def test_fans_are_counted_connections(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """With all weights at 1, an output is the number of its inputs and a gradient the number of an input's outputs."""
    nn.init.ones_(layer.weight)
    inputs = torch.ones(1, layer.in_channels, 12, 12, requires_grad=True)
    outputs = layer(inputs) - (0 if layer.bias is None else layer.bias.reshape(1, -1, 1, 1))
    outputs.sum().backward()
    assert inputs.grad is not None
    at = outputs.shape[-1] // 2
    assert fans(layer) == (round(outputs[0, 0, at, at].item()), round(inputs.grad[0, 0, 6, 6].item()))


@pytest.mark.parametrize(
    ("name", "variance"),
    [("kaiming_normal", lambda i, _: 2 / i), ("xavier_normal", lambda i, o: 2 / (i + o))],
)
def test_variances_are_those_of_the_papers(name: str, variance: object) -> None:
    """A sample variance of n normal weights has the relative standard error sqrt(2 / n); five of them are allowed."""
    weight = torch.empty(64, 128, 3, 3)
    INITS[name](weight, 1152, 576, generator())
    expected = variance(1152, 576)  # type: ignore[operator]
    n = weight.numel()
    assert weight.var().item() == pytest.approx(expected, rel=5 * math.sqrt(2 / n))
    assert abs(weight.mean().item()) < 5 * math.sqrt(expected / n)


def test_kaiming_keeps_the_forward_scale_through_relu_where_torchs_default_loses_it() -> None:
    def ratio(init: bool) -> float:
        torch.manual_seed(0)
        net = nn.Sequential(*(nn.Sequential(nn.Linear(512, 512), nn.ReLU()) for _ in range(8)))
        if init:
            for layer in net:
                INITS["kaiming_normal"](layer[0].weight.data, 512, 512, generator())  # type: ignore[index]
                layer[0].bias.data.zero_()  # type: ignore[index]
        x = torch.randn(256, 512, generator=generator(1))
        return (net(x).square().mean() / x.square().mean()).item()

    assert 0.5 < ratio(init=True) < 2
    assert ratio(init=False) < 0.01


@pytest.mark.parametrize("name", INITS)
def test_initialise_reaches_every_parameter_and_depends_on_its_generator_alone(name: str) -> None:
    nets = [UNet(4, 2, 2, norm) for norm in ("batch", "batch", "none")]
    for net in nets:
        for parameter in net.parameters():
            nn.init.constant_(parameter, torch.nan)
    before = torch.get_rng_state()
    for net in nets:
        initialise(net, INITS[name], generator(3))
    assert torch.equal(before, torch.get_rng_state())
    for net in nets:
        assert all(bool(parameter.isfinite().all()) for parameter in net.parameters())
    for ours, theirs in zip(nets[0].state_dict().values(), nets[1].state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_norms_start_at_one_and_biases_at_zero() -> None:
    net = UNet(4, 1, 2, "batch")
    initialise(net, INITS[TINY.init], generator())
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms
    assert all(bool((norm.weight == 1).all()) and bool((norm.bias == 0).all()) for norm in norms)
    assert bool((net.head.bias == 0).all())


def test_a_layer_that_no_rule_reaches_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"1\.0: no rule starts a Linear"):
        initialise(nn.Sequential(nn.ReLU(), nn.Sequential(nn.Linear(2, 2))), INITS["kaiming_normal"], generator())
