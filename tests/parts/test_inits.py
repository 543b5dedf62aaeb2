from __future__ import annotations

import inspect
import math
import random
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from examples import usable
from scipy import stats
from torch import Tensor, nn

from fieldgap.base.errors import InputError
from fieldgap.parts.inits import INITS
from fieldgap.parts.registry import options_of
from fieldgap.parts.unet import UNet
from fieldgap.training.initialise import fans, initialise

FAN_IN, FAN_OUT = 1152, 576
NORMAL, UNIFORM = 3.0, 1.8  # Kurtosis, the fourth moment over the squared variance.
TRUNCATED = stats.truncnorm(-2, 2)
KAIMING_GAINS = {"relu": math.sqrt(2), "leaky_relu": math.sqrt(2 / 1.0001), "linear": 1.0, "tanh": 5 / 3}

# Name, options, variance and kurtosis. The entries of an orthogonal weight are not independent; it has its own tests.
# Initialisers added later are tested without an entry here.
MOMENTS: list[tuple[str, dict[str, Any], float, float]] = [
    ("kaiming_normal", {}, 2 / FAN_IN, NORMAL),
    ("kaiming_normal", {"fan": "fan_out"}, 2 / FAN_OUT, NORMAL),
    ("kaiming_normal", {"nonlinearity": "tanh"}, 25 / 9 / FAN_IN, NORMAL),
    ("kaiming_normal", {"nonlinearity": "leaky_relu", "negative_slope": 0.5}, 1.6 / FAN_IN, NORMAL),
    ("kaiming_uniform", {}, 2 / FAN_IN, UNIFORM),
    ("kaiming_uniform", {"fan": "fan_out", "nonlinearity": "linear"}, 1 / FAN_OUT, UNIFORM),
    ("xavier_normal", {}, 2 / (FAN_IN + FAN_OUT), NORMAL),
    ("xavier_normal", {"gain": 3.0}, 18 / (FAN_IN + FAN_OUT), NORMAL),
    ("xavier_uniform", {}, 2 / (FAN_IN + FAN_OUT), UNIFORM),
    ("xavier_uniform", {"gain": 3.0}, 18 / (FAN_IN + FAN_OUT), UNIFORM),
    ("lecun_normal", {}, 1 / FAN_IN, NORMAL),
    ("truncated_normal", {}, 0.02**2 * TRUNCATED.var(), 3 + float(TRUNCATED.stats("k"))),
    ("truncated_normal", {"std": 0.5}, 0.5**2 * TRUNCATED.var(), 3 + float(TRUNCATED.stats("k"))),
    ("torch_default", {}, 1 / (3 * FAN_IN), UNIFORM),
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def filled(name: str, *shape: int, seed: int = 0, **options: Any) -> Tensor:
    """Return a weight initialised as if its fans were FAN_IN and FAN_OUT, whatever its shape."""
    weight = torch.full(shape, torch.nan)
    INITS[name](weight, FAN_IN, FAN_OUT, generator(seed), **options)
    return weight


def scale(layers: int, name: str, activation: type[nn.Module], width: int = 512, **options: Any) -> float:
    """Return the mean square of the outputs of a stack of layers whose inputs are unit normal."""
    stack = nn.Sequential(*(nn.Sequential(nn.Linear(width, width), activation()) for _ in range(layers)))
    initialise(stack, partial(INITS[name], **options), generator())
    with torch.no_grad():
        return stack(torch.randn(64, width, generator=generator(1))).square().mean().item()


def counted(outputs: Tensor, inputs: Tensor, stride: tuple[int, ...]) -> tuple[float, float]:
    """Return the connections per output and per input of a layer of ones.

    They are means over one period of the stride, away from the border.
    """
    outputs.sum().backward()
    assert inputs.grad is not None
    period = (0, 0, *(slice(4, 4 + step) for step in stride))
    return outputs[period].mean().item(), inputs.grad[period].mean().item()


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(3, 8, 3),
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(5, 2, 1),
        nn.Conv2d(4, 8, 2, stride=2),
        nn.Conv2d(4, 6, 3, stride=(1, 2), dilation=2),
        nn.Conv2d(4, 2, 1, stride=2),
        nn.Conv2d(8, 12, 3, groups=4),
        nn.Conv2d(6, 6, (3, 1), stride=(1, 1), groups=6),
        nn.Conv3d(4, 6, 2, stride=2, groups=2),
        nn.ConvTranspose1d(6, 4, 4, stride=2),
        nn.ConvTranspose2d(6, 4, 2, stride=2),
        nn.ConvTranspose2d(6, 5, 3, stride=2),
        nn.ConvTranspose2d(8, 12, 3, groups=4),
        nn.ConvTranspose3d(8, 4, 2, stride=2, groups=2),
        nn.Linear(7, 5),
    ],
    ids=repr,
)
def test_fans_are_counted_connections(layer: Any) -> None:
    """With all weights 1, an output is the number of its inputs, and the gradient of an input that of its outputs."""
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    stride = getattr(layer, "stride", ())
    channels = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    inputs = torch.ones(1, channels, *(16 for _ in stride), requires_grad=True)
    fan_in, fan_out = counted(layer(inputs), inputs, stride)
    assert fans(layer) == (max(1, math.floor(fan_in)), max(1, math.floor(fan_out)))


@pytest.mark.parametrize("name", INITS)
def test_every_registered_init_has_fans_a_generator_and_options(name: str) -> None:
    parameters = list(inspect.signature(INITS[name]).parameters)
    assert parameters == ["weight", "fan_in", "fan_out", "generator", *options_of(INITS[name])]


@pytest.mark.parametrize(("name", "options", "variance", "kurtosis"), MOMENTS)
def test_moments_are_those_of_the_papers(name: str, options: dict[str, Any], variance: float, kurtosis: float) -> None:
    """Five standard errors are allowed.

    That of a sample variance of n weights is sqrt((kurtosis - 1) / n), relative: sqrt(2 / n) for a normal and
    sqrt(0.8 / n) for a uniform distribution. That of a mean is sqrt(variance / n).
    """
    weight = filled(name, 64, 128, 3, 3, **options).double()
    n = weight.numel()
    assert weight.var().item() == pytest.approx(variance, rel=5 * math.sqrt((kurtosis - 1) / n))
    assert abs(weight.mean().item()) < 5 * math.sqrt(variance / n)
    sample = stats.kurtosis(weight.flatten().numpy(), fisher=False)
    assert sample == pytest.approx(kurtosis, abs=0.1)


@pytest.mark.parametrize(
    ("name", "options", "bound"),
    [
        ("kaiming_uniform", {}, math.sqrt(6 / FAN_IN)),
        ("xavier_uniform", {"gain": 2.0}, 2 * math.sqrt(6 / (FAN_IN + FAN_OUT))),
        ("torch_default", {}, 1 / math.sqrt(FAN_IN)),
        ("truncated_normal", {"std": 0.1}, 0.2),
    ],
)
def test_bounds_are_approached_and_never_passed(name: str, options: dict[str, Any], bound: float) -> None:
    largest = filled(name, 1024, 1024, **options).abs().max()
    assert 0.9999 * bound < largest.item() <= torch.tensor(bound).item()


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(32, 24, 3), nn.Conv1d(3, 8, 5), nn.Linear(48, 96), nn.Linear(3, 2)], ids=repr
)
@pytest.mark.parametrize(
    ("name", "options", "torchs"),
    [
        *(
            (f"kaiming_{shape}", {"fan": fan, "nonlinearity": kind}, partial(fill, mode=fan, nonlinearity=kind, a=0.01))
            for shape, fill in (("normal", nn.init.kaiming_normal_), ("uniform", nn.init.kaiming_uniform_))
            for fan in ("fan_in", "fan_out")
            for kind in ("relu", "leaky_relu", "linear", "tanh", "sigmoid", "selu")
        ),
        ("xavier_normal", {}, nn.init.xavier_normal_),
        ("xavier_normal", {"gain": 1.7}, partial(nn.init.xavier_normal_, gain=1.7)),
        ("xavier_uniform", {"gain": 1.7}, partial(nn.init.xavier_uniform_, gain=1.7)),
        ("lecun_normal", {}, partial(nn.init.kaiming_normal_, nonlinearity="linear")),
        ("orthogonal", {"gain": 1.7}, partial(nn.init.orthogonal_, gain=1.7)),
        ("truncated_normal", {}, partial(nn.init.trunc_normal_, std=0.02, a=-0.04, b=0.04)),
        ("torch_default", {}, partial(nn.init.kaiming_uniform_, a=math.sqrt(5))),
    ],
)
def test_the_bits_are_those_of_torch(
    layer: nn.Conv2d | nn.Linear, name: str, options: dict[str, Any], torchs: Callable[..., Tensor]
) -> None:
    """Torch computes the deviation with other roots, which may differ by one unit in float64 but not in float32."""
    ours = torch.empty_like(layer.weight)
    INITS[name](ours, *fans(layer), generator(), **options)
    assert torch.equal(ours, torchs(torch.empty_like(layer.weight), generator=generator()))


@pytest.mark.parametrize("shape", [(64, 16), (16, 64), (32, 32), (16, 8, 3, 3), (64, 2, 3, 3), (8, 4, 2, 2, 2)])
def test_rows_or_columns_are_orthogonal(shape: tuple[int, ...]) -> None:
    """Products of float32 vectors of norm gain are off by a few units of 1.2e-7."""
    weight = filled("orthogonal", *shape, gain=1.5).flatten(1)
    wide = weight if len(weight) <= weight.shape[1] else weight.T
    torch.testing.assert_close(wide @ wide.T, 2.25 * torch.eye(len(wide)), atol=5e-6, rtol=0)
    assert weight.square().mean().item() == pytest.approx(2.25 / max(weight.shape), rel=1e-5)


def test_orthogonal_is_uniform_over_the_group() -> None:
    """An entry of a uniform (Haar) n x n matrix has mean 0 and variance 1 / n, the trace mean 0 and variance 1."""
    draws = torch.stack([filled("orthogonal", 4, 4, seed=seed) for seed in range(1000)])
    assert draws.mean(0).abs().max().item() < 5 * math.sqrt(1 / 4 / 1000)
    traces = draws.diagonal(dim1=1, dim2=2).sum(1)
    assert abs(traces.mean().item()) < 5 * math.sqrt(1 / 1000)
    assert traces.var().item() == pytest.approx(1, rel=5 * math.sqrt(2 / 1000))


def test_each_group_of_a_convolution_is_an_orthogonal_map() -> None:
    layer = nn.Conv2d(6, 24, 2, groups=3)
    initialise(layer, INITS["orthogonal"], generator())
    for group in layer.weight.detach().flatten(1).chunk(3):
        torch.testing.assert_close(group @ group.T, torch.eye(8), atol=5e-6, rtol=0)


@pytest.mark.parametrize(("make", "shape"), [(nn.Conv2d, (128, 256, 3)), (nn.Linear, (1152, 256))])
def test_torch_default_has_the_distribution_of_a_new_layer(
    make: Callable[..., nn.Module], shape: tuple[int, ...]
) -> None:
    """By the two-sample Kolmogorov-Smirnov test, one seed in a hundred fails although the distributions are equal."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs, ours = make(*shape), make(*shape)
    initialise(ours, INITS["torch_default"], generator())
    samples = [layer.weight.detach().flatten().numpy() for layer in (theirs, ours)]
    assert stats.ks_2samp(*samples).pvalue > 0.01


def test_torch_has_another_fan_for_transposed_convolutions() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.ConvTranspose2d(64, 32, 2, stride=2)
    assert layer.weight.abs().max().item() == pytest.approx(1 / math.sqrt(32 * 4), rel=1e-3)
    initialise(layer, INITS["torch_default"], generator())
    assert layer.weight.abs().max().item() == pytest.approx(1 / math.sqrt(64), rel=1e-3)


def test_he_keeps_the_scale_through_relu_where_torchs_default_loses_it() -> None:
    """Each layer multiplies the scale by a factor of mean 1 and variance 5 / width; variances of layers add up."""
    layers, allowed = 20, 5 * math.sqrt(5 * 20 / 512)
    for name in ("kaiming_normal", "kaiming_uniform"):
        assert abs(math.log(scale(layers, name, nn.ReLU))) < allowed
    assert math.log(scale(layers, "torch_default", nn.ReLU)) == pytest.approx(-layers * math.log(6), abs=allowed)
    assert math.log(scale(layers, "lecun_normal", nn.ReLU)) == pytest.approx(-layers * math.log(2), abs=allowed)


@pytest.mark.parametrize("name", ["xavier_normal", "xavier_uniform"])
def test_xavier_keeps_the_scale_through_tanh(name: str) -> None:
    """With tanh's gain the scale settles at q = E tanh(5/3 sqrt(q) z)**2; with gain 1 it fades as 1 / (2 L).

    It fades because tanh(x)**2 is x**2 - 2/3 x**4, so a layer subtracts 2 q**2 from q (Poole et al. 2016).
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    settled = 0.5
    for _ in range(200):
        settled = weights @ np.tanh(5 / 3 * math.sqrt(settled) * nodes) ** 2 / weights.sum()
    assert scale(10, name, nn.Tanh, gain=5 / 3) == pytest.approx(settled, rel=0.1)
    assert scale(40, name, nn.Tanh, gain=5 / 3) == pytest.approx(settled, rel=0.1)
    assert scale(40, name, nn.Tanh) == pytest.approx(1 / 80, rel=0.3)
    assert scale(40, "torch_default", nn.Tanh) < 1e-15


class Nested(nn.Module):
    """Every type of layer that can be initialised, in nested containers."""

    def __init__(self) -> None:
        super().__init__()
        convolutions = nn.Sequential(nn.Conv1d(2, 4, 3), nn.Conv2d(2, 4, 3, groups=2), nn.Conv3d(2, 4, 3, bias=False))
        transposed = nn.ModuleList(
            [nn.ConvTranspose1d(2, 4, 2), nn.ConvTranspose2d(2, 4, 2), nn.ConvTranspose3d(2, 4, 2)]
        )
        norms = nn.ModuleDict(
            {
                **{f"batch{d}": norm(4) for d, norm in enumerate([nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d], 1)},
                **{f"group{d}": nn.GroupNorm(2, 4, affine=d == 1) for d in range(2)},
                **{f"layer{d}": nn.LayerNorm(4, bias=d == 1) for d in range(2)},
                **{f"instance{d}": nn.InstanceNorm2d(4, affine=d == 1) for d in range(2)},
            }
        )
        self.parts = nn.ModuleList([nn.Sequential(nn.ReLU(), convolutions), transposed, norms])
        self.head = nn.Linear(4, 2)


@pytest.mark.parametrize("name", INITS)
@pytest.mark.parametrize("make", [Nested, partial(UNet, 4, 2, 2, "batch"), partial(UNet, 4, 2, 2, "none")])
def test_every_parameter_is_reached_and_depends_on_the_generator_alone(
    name: str, make: Callable[[], nn.Module]
) -> None:
    nets = [make(), make(), make()]
    for net in nets:
        for parameter in net.parameters():
            nn.init.constant_(parameter, torch.nan)
    before = torch.get_rng_state(), str(np.random.get_state()), random.getstate()
    for net, seed in zip(nets, [3, 3, 4], strict=True):
        initialise(net, usable(INITS[name]), generator(seed))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (str(np.random.get_state()), random.getstate())
    for (key, first), same, other in zip(nets[0].named_parameters(), *(n.parameters() for n in nets[1:]), strict=True):
        assert bool(first.isfinite().all()), key
        assert torch.equal(first, same), key
        assert torch.equal(first, other) == (key.endswith("bias") or bool((first == 1).all())), key


def test_norms_start_at_one_and_biases_at_zero() -> None:
    net = Nested()
    for parameter in net.parameters():
        nn.init.constant_(parameter, torch.nan)
    initialise(net, INITS[TINY.init], generator())
    values = dict(net.named_parameters())
    scales = [key for key in values if key.startswith("parts.2.") and key.endswith("weight")]
    assert len(scales) == 3 + 1 + 2 + 1
    assert all(bool((values[key] == 1).all()) for key in scales)
    assert all(bool((values[key] == 0).all()) for key in values if key.endswith("bias"))


class Scaled(nn.Conv2d):
    """A convolution with a parameter that cannot be initialised."""

    def __init__(self) -> None:
        super().__init__(2, 2, 1)
        self.factor = nn.Parameter(torch.ones(2))


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Sequential(nn.ReLU(), nn.Sequential(nn.PReLU())), r"^1\.0: no rule starts a PReLU"),
        (nn.ModuleDict({"stem": nn.ModuleList([Scaled()])}), r"^stem\.0: no rule starts a Scaled"),
        (nn.Embedding(2, 2), r"^net: no rule starts a Embedding"),
    ],
)
def test_a_layer_that_cannot_be_initialised_is_an_error(net: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message):
        initialise(net, INITS["kaiming_normal"], generator())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("kaiming_normal", {"fan": "in"}, "^fan: 'in' is unknown; give one of fan_in, fan_out"),
        ("kaiming_uniform", {"nonlinearity": "gelu"}, "^nonlinearity: 'gelu' is unknown; give one of .*leaky_relu"),
        ("kaiming_normal", {"nonlinearity": "leaky_relu", "negative_slope": -1.0}, "^negative_slope: -1.0 .*0 or more"),
        ("kaiming_normal", {"nonlinearity": "leaky_relu", "negative_slope": math.nan}, "^negative_slope: nan"),
        ("kaiming_uniform", {"negative_slope": 0.2}, "^negative_slope: relu has none; leave it out or"),
        ("xavier_normal", {"gain": 0.0}, "^gain: 0.0 .*above 0"),
        ("xavier_uniform", {"gain": math.inf}, "^gain: inf .*above 0"),
        ("orthogonal", {"gain": -1.0}, "^gain: -1.0 .*above 0"),
        ("truncated_normal", {"std": math.nan}, "^std: nan .*above 0"),
    ],
)
def test_a_bad_option_is_named_with_its_mend(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        filled(name, 4, 4, **options)


def test_the_inits_load_without_torch() -> None:
    code = "import sys, fieldgap.parts.inits; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def branch(*ends: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), *ends)


class Residual(nn.Module):
    """A stem, a block with a projection shortcut, and one with an identity shortcut, as in a ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.shortcut = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
        self.first = branch(nn.BatchNorm2d(4))
        self.second = branch(nn.GroupNorm(2, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = (self.shortcut(x) + self.first(x)).relu()
        return (x + self.second(x)).relu()


def test_zero_gamma_starts_residual_branches_at_zero_and_lets_them_learn() -> None:
    net, images = Residual(), torch.randn(4, 3, 8, 8, generator=generator(1))
    initialise(net, INITS["kaiming_normal"], generator(), zero_gamma=True)
    zeroed = {key for key, value in net.named_parameters() if key.endswith("weight") and bool((value == 0).all())}
    assert zeroed == {"first.4.weight", "second.4.weight"}
    start = net.shortcut(net.stem(images)).relu()
    assert torch.equal(net(images), start)
    net(images).square().sum().backward()
    assert all(bool(p.grad.abs().sum() > 0) for k, p in net.named_parameters() if k in zeroed and p.grad is not None)
    assert all(net.get_parameter(key).grad is not None for key in zeroed)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_zero_gamma_is_an_error_in_a_network_without_residual_branches(norm: str) -> None:
    with pytest.raises(InputError, match=r"^zero_gamma: this network has no residual branch .*set zero_gamma to false"):
        initialise(UNet(4, 2, 2, norm), INITS["kaiming_normal"], generator(), zero_gamma=True)


def test_a_unet_whose_last_scales_are_zero_learns_only_the_bias_of_its_head() -> None:
    """This is why zero_gamma is an error there."""
    net = UNet(4, 2, 2, "batch")
    initialise(net, INITS["kaiming_normal"], generator())
    for blocks in (net.down, net.up):
        for block in blocks:
            nn.init.zeros_(block[4].weight)  # type: ignore[index]
    logits = net(torch.randn(2, 3, 16, 16, generator=generator()))
    nn.functional.cross_entropy(logits, torch.zeros(2, 16, 16, dtype=torch.long)).backward()
    assert [key for key, p in net.named_parameters() if p.grad is not None and bool(p.grad.any())] == ["head.bias"]
