from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from torch import nn

from fieldgap.base.errors import InputError
from fieldgap.network.build import Standardized, build
from fieldgap.network.deterministic import AdaptiveAverage
from fieldgap.parts.inits import INITS
from fieldgap.parts.networks import ARCHITECTURES
from fieldgap.parts.unet import Residual, UNet
from fieldgap.settings.sections import Train
from fieldgap.tiles.batches import batch
from fieldgap.tiles.packed import load
from fieldgap.training.initialise import initialise


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("residual", [False, True])
def test_logits_have_the_size_of_the_image(norm: str, depth: int, residual: bool) -> None:
    assert UNet(4, depth, 2, norm, residual=residual)(torch.zeros(2, 3, 32, 48)).shape == (2, 2, 32, 48)


def test_the_default_network_has_as_many_parameters_as_the_documents_say() -> None:
    assert sum(p.numel() for p in UNet(8, 3, 2, "batch").parameters()) == 121_186


def test_standardisation_gives_mean_zero_and_deviation_one() -> None:
    pixels = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=generator())
    values = pixels.double().movedim(1, 0).flatten(1)
    net = Standardized(nn.Identity(), values.mean(1).tolist(), values.std(1).tolist())
    out = net(pixels).movedim(1, 0).flatten(1)
    torch.testing.assert_close(out.mean(1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(1), torch.ones(3), atol=1e-5, rtol=0)


def configured(**values: Any) -> Train:
    return dataclasses.replace(TINY, **values)


def test_with_zero_gamma_residual_blocks_start_as_the_identity() -> None:
    """The input of a block comes from a ReLU, so the block's own ReLU does not change it."""
    net = UNet(4, 2, 2, "batch", residual=True)
    initialise(net, INITS["kaiming_normal"], generator(), zero_gamma=True)
    x = torch.rand(2, 8, 16, 16, generator=generator())
    same = Residual(8, 8, "batch")
    initialise(same, INITS["kaiming_normal"], generator(), zero_gamma=True)
    assert torch.equal(same(x), x)
    net(torch.rand(2, 3, 16, 16, generator=generator())).square().sum().backward()
    scales = [block.branch[-1].weight for block in net.modules() if isinstance(block, Residual)]
    assert len(scales) == 5
    assert all(bool((scale == 0).all()) for scale in scales)
    assert all(scale.grad is not None and bool(scale.grad.any()) for scale in scales), (
        "the first step moves them away from 0"
    )


def test_the_architectures_are_those_of_the_library() -> None:
    smp = importlib.import_module("segmentation_models_pytorch")
    classes = {name for name in dir(smp) if isinstance(getattr(smp, name), type)}
    assert set(ARCHITECTURES) == {"unet", *(f"smp.{name}" for name in classes)}


@pytest.mark.parametrize("name", ["smp.Unet", "smp.FPN"])
def test_a_network_of_the_library_is_built_without_pretrained_weights_and_initialised(tiles: Path, name: str) -> None:
    net = build(configured(model=name, options={name: {"encoder_name": "resnet18"}}), load(tiles))
    initialise(net, INITS["kaiming_normal"], generator())
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    assert net.eval()(images).shape == (2, 2, 32, 32)


@pytest.mark.parametrize("size", [1, 2, 3, 6, (2, 5), (None, 3), 7])
def test_adaptive_averages_are_those_of_torch(size: Any) -> None:
    x = torch.rand(2, 3, 7, 10, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(AdaptiveAverage(size)(x), torch.nn.AdaptiveAvgPool2d(size)(x))


@pytest.mark.parametrize("name", ["smp.PAN", "smp.PSPNet", "smp.UPerNet", "smp.MAnet", "smp.DeepLabV3Plus"])
def test_networks_of_the_library_get_averages_that_repeat_on_cuda(large_tiles: Path, name: str) -> None:
    net = build(configured(model=name, options={name: {"encoder_name": "resnet18"}}), load(large_tiles))
    assert any(isinstance(layer, AdaptiveAverage) for layer in net.modules())
    assert not any(isinstance(layer, torch.nn.AdaptiveAvgPool2d) for layer in net.modules())


@pytest.mark.parametrize("values", [{}, {"model": "smp.Unet", "options": {"smp.Unet": {"encoder_name": "resnet18"}}}])
def test_any_number_of_bands_and_classes(tiles: Path, values: dict[str, Any]) -> None:
    packed = load(tiles)
    five = dataclasses.replace(
        packed,
        images=np.repeat(packed.images[:4, :, :, :1], 5, 3),
        classes=("background", "wheat", "maize"),
        mean=[1.0] * 5,
        std=[1.0] * 5,
    )
    net = build(configured(**values), five)
    images, _ = batch(five, np.arange(2), torch.device("cpu"))
    assert net.eval()(images).shape == (2, 3, 32, 32)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"model": "smp.Unet", "options": {"smp.Unet": {"encoder_name": "resnet999"}}},
            r"options\.smp\.Unet: .*resnet999",
        ),
        (
            {"model": "smp.Unet", "options": {"smp.Unet": {"colour": "red"}}},
            r"options\.smp\.Unet\.colour: no such option",
        ),
        ({"depth": 6}, "depth: 6 halvings need tiles that divide by 64, not 32 px"),
    ],
)
def test_an_option_or_a_size_that_a_network_refuses_is_named(tiles: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(configured(**values), load(tiles))


def test_our_unet_does_not_import_the_library() -> None:
    code = (
        "import sys, fieldgap.training.train, fieldgap.evaluation.evaluate; "
        "print('segmentation_models_pytorch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
