from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from repeats import CPU, LARGE, config_of, same, trained

from fieldgap.network.build import build
from fieldgap.parts.networks import ARCHITECTURES
from fieldgap.tiles.batches import batch
from fieldgap.tiles.packed import load
from fieldgap.training.recompute import blocks, recompute


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
    """Dropout included: what was dropped is dropped again."""
    tiles = large_tiles if model in LARGE else tiles
    assert same(trained(tiles, config_of(model)), trained(tiles, config_of(model, recompute=True)))


def kept_bytes(net: torch.nn.Module, images: torch.Tensor) -> int:
    """Return how many bytes one forward pass keeps for the backward pass, parameters aside."""
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
    images, _ = batch(packed, packed.indices("train")[:4], CPU)
    plain, sparing = (build(config_of("unet", width=8), packed) for _ in range(2))
    recompute(sparing)
    assert kept_bytes(sparing, images) < 0.6 * kept_bytes(plain, images)


def test_blocks_are_the_outermost_items_of_lists() -> None:
    """The children of a container are blocks; a module inside a block is not another one."""
    inner = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.ReLU())
    net = torch.nn.Module()
    net.parts = torch.nn.ModuleList([inner, torch.nn.ReLU(), torch.nn.ModuleList([torch.nn.Conv2d(1, 1, 1)])])
    net.head = torch.nn.Conv2d(1, 1, 1)
    assert list(blocks(net)) == [inner, net.parts[2][0]]
