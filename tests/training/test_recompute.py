from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY

from fieldgap.architectures import ARCHITECTURES
from fieldgap.device import prepare
from fieldgap.model import build
from fieldgap.recompute import blocks, recompute
from fieldgap.sections import Train
from fieldgap.start import start
from fieldgap.state import tensors_of
from fieldgap.tiles import load
from fieldgap.train import fit

CPU = prepare("cpu", TINY.threads)
LARGE = ("smp.PAN",)
SMALLER: dict[str, dict[str, Any]] = {
    "smp.Segformer": {"encoder_name": "mit_b0"},
    "smp.DPT": {"encoder_name": "tu-mobilevit_xxs", "decoder_readout": "ignore"},
}


def config_of(model: str, **values: Any) -> Train:
    """TINY with a network, its encoder the smallest that suits it."""
    encoder = {} if model == "unet" else SMALLER.get(model, {"encoder_name": "resnet18"})
    options = {"SGD": {"momentum": 0.9}, model: encoder} if encoder else {"SGD": {"momentum": 0.9}}
    return dataclasses.replace(TINY, model=model, options=options, batch_size="full", epochs=2, **values)


def trained(tiles: Path, config: Train) -> dict[str, torch.Tensor]:
    run = start(config, load(tiles), CPU)
    assert fit(run, lambda row: None) == ""
    return tensors_of(run)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize(
    "values", [{}, {"residual": True, "ema": 0.5}, {"micro_batch": 2, "precision": "bf16"}], ids=str
)
def test_recomputing_leaves_every_bit_of_a_run(tiles: Path, values: dict[str, Any]) -> None:
    """Weights, running statistics, their counters, averages and all rows."""
    assert same(
        trained(tiles, config_of("unet", **values)), trained(tiles, config_of("unet", recompute=True, **values))
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", [model for model in ARCHITECTURES if model != "unet"])
def test_recomputing_leaves_every_bit_of_each_foreign_network(tiles: Path, large_tiles: Path, model: str) -> None:
    """Dropout among it: what was dropped is dropped again."""
    tiles = large_tiles if model in LARGE else tiles
    assert same(trained(tiles, config_of(model)), trained(tiles, config_of(model, recompute=True)))


def kept_bytes(net: torch.nn.Module, images: torch.Tensor) -> int:
    """-> how much one forward pass keeps for the backward pass, parameters aside."""
    kept = {}
    parameters = {parameter.data_ptr() for parameter in net.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in parameters:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        net(images)
    return sum(kept.values())


def test_recomputing_keeps_less_for_the_backward_pass(tiles: Path) -> None:
    packed = load(tiles)
    images, _ = packed.batch(packed.indices("train")[:4], CPU)
    plain, sparing = (build(config_of("unet", width=8), packed) for _ in range(2))
    recompute(sparing)
    assert kept_bytes(sparing, images) < 0.6 * kept_bytes(plain, images)


def test_blocks_are_the_outermost_items_and_hold_all_weights_but_those_between() -> None:
    """A container's own children are blocks; what lies in a block is not one again."""
    inner = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.ReLU())
    net = torch.nn.Module()
    net.parts = torch.nn.ModuleList([inner, torch.nn.ReLU(), torch.nn.ModuleList([torch.nn.Conv2d(1, 1, 1)])])
    net.head = torch.nn.Conv2d(1, 1, 1)
    assert list(blocks(net)) == [inner, net.parts[2][0]]
