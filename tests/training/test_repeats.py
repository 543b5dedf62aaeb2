"""Every shipped network, loss and optimiser gives the same bytes twice."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from test_recompute import LARGE, config_of, same, trained

from fieldgap.architectures import ARCHITECTURES
from fieldgap.losses import LOSSES
from fieldgap.optimizers import OPTIMIZERS

# All pairs of a network and an optimiser; the losses shift along, so that each meets each network and each optimiser.
PAIRS = [
    (model, tuple(LOSSES)[(i + j) % len(LOSSES)], optimizer)
    for i, model in enumerate(ARCHITECTURES)
    for j, optimizer in enumerate(OPTIMIZERS)
]
SAMPLE = [("unet", "dice", "Adafactor"), ("smp.FPN", "lovasz_softmax", "NAdam")]


def twice(tiles: Path, model: str, loss: str, optimizer: str) -> bool:
    config = config_of(model)
    options = {name: each for name, each in config.options.items() if name == model}
    lr = 0.001 if optimizer == "RMSprop" else 0.01  # With it, PAN diverges at 0.01.
    config = dataclasses.replace(
        config, loss=loss, optimizer=optimizer, options=options, lr=lr, epochs=1, warmup_epochs=0
    )
    torch.manual_seed(1)
    one = trained(tiles, config)
    torch.manual_seed(2)
    return same(one, trained(tiles, config))


def test_all_pairs_of_networks_losses_and_optimisers_are_there() -> None:
    for names in (ARCHITECTURES, LOSSES), (LOSSES, OPTIMIZERS), (ARCHITECTURES, OPTIMIZERS):
        found = {tuple(name for name in triple if name in (*names[0], *names[1])) for triple in PAIRS}
        assert len(found) == len(names[0]) * len(names[1])


@pytest.mark.parametrize(("model", "loss", "optimizer"), SAMPLE)
def test_a_sample_repeats_its_bytes(tiles: Path, model: str, loss: str, optimizer: str) -> None:
    assert twice(tiles, model, loss, optimizer)


@pytest.mark.endurance
@pytest.mark.parametrize(("model", "loss", "optimizer"), PAIRS)
def test_every_network_loss_and_optimiser_repeats_its_bytes(
    tiles: Path, large_tiles: Path, model: str, loss: str, optimizer: str
) -> None:
    assert twice(large_tiles if model in LARGE else tiles, model, loss, optimizer)


@pytest.mark.endurance
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_loss_and_optimiser_repeats_its_bytes_on_the_own_network(tiles: Path, loss: str, optimizer: str) -> None:
    assert twice(tiles, "unet", loss, optimizer)
