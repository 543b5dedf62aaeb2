"""Small trainings whose final tensors are compared bit by bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from conftest import TINY

from fieldgap.network.device import prepare
from fieldgap.parts.losses import LOSSES
from fieldgap.parts.networks import ARCHITECTURES
from fieldgap.parts.optimizers import OPTIMIZERS
from fieldgap.settings.sections import Train
from fieldgap.tiles.packed import load
from fieldgap.training.start import start
from fieldgap.training.state import tensors_of
from fieldgap.training.train import fit

CPU = prepare("cpu", TINY.threads)
LARGE = ("smp.PAN",)  # Networks that need large tiles.
SMALLEST: dict[str, dict[str, Any]] = {
    "unet": {},
    "smp.Segformer": {"encoder_name": "mit_b0"},
    "smp.DPT": {"encoder_name": "tu-mobilevit_xxs", "decoder_readout": "ignore"},
}
# All pairs of a network and an optimizer. The losses shift along, so that each meets every network and optimizer.
PAIRS = [
    (model, tuple(LOSSES)[(i + j) % len(LOSSES)], optimizer)
    for i, model in enumerate(ARCHITECTURES)
    for j, optimizer in enumerate(OPTIMIZERS)
]


def config_of(model: str, **values: Any) -> Train:
    """Return TINY with a network and the smallest encoder that it works with."""
    encoder = SMALLEST.get(model, {"encoder_name": "resnet18"})
    options = {"SGD": {"momentum": 0.9}, **({model: encoder} if encoder else {})}
    return dataclasses.replace(TINY, model=model, options=options, batch_size="full", epochs=2, **values)


def trained(tiles: Path, config: Train) -> dict[str, torch.Tensor]:
    """Return all tensors of a run after its training."""
    run = start(config, load(tiles), CPU)
    fit(run, lambda row: None)
    return tensors_of(run)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Return whether two runs have the same bits."""
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def twice(tiles: Path, model: str, loss: str, optimizer: str) -> bool:
    """Return whether two trainings have the same bits although torch's global generator starts differently."""
    config = config_of(model)
    options = {name: own for name, own in config.options.items() if name == model}
    lr = 0.001 if optimizer == "RMSprop" else 0.01  # PAN with RMSprop diverges at 0.01.
    config = dataclasses.replace(
        config, loss=loss, optimizer=optimizer, options=options, lr=lr, epochs=1, warmup_epochs=0
    )
    torch.manual_seed(1)
    one = trained(tiles, config)
    torch.manual_seed(2)
    return same(one, trained(tiles, config))
