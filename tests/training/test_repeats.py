"""Every network, loss and optimizer that is shipped gives the same bytes twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from repeats import LARGE, PAIRS, twice

from fieldgap.parts.losses import LOSSES
from fieldgap.parts.networks import ARCHITECTURES
from fieldgap.parts.optimizers import OPTIMIZERS

SAMPLE = [("unet", "dice", "Adafactor"), ("smp.FPN", "lovasz_softmax", "NAdam")]


def test_all_pairs_of_networks_losses_and_optimizers_are_there() -> None:
    for names in (ARCHITECTURES, LOSSES), (LOSSES, OPTIMIZERS), (ARCHITECTURES, OPTIMIZERS):
        found = {tuple(name for name in triple if name in (*names[0], *names[1])) for triple in PAIRS}
        assert len(found) == len(names[0]) * len(names[1])


@pytest.mark.parametrize(("model", "loss", "optimizer"), SAMPLE)
def test_a_sample_repeats_its_bytes(tiles: Path, model: str, loss: str, optimizer: str) -> None:
    assert twice(tiles, model, loss, optimizer)


@pytest.mark.endurance
@pytest.mark.parametrize(("model", "loss", "optimizer"), PAIRS)
def test_every_network_loss_and_optimizer_repeats_its_bytes(
    tiles: Path, large_tiles: Path, model: str, loss: str, optimizer: str
) -> None:
    assert twice(large_tiles if model in LARGE else tiles, model, loss, optimizer)


@pytest.mark.endurance
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_loss_and_optimizer_repeats_its_bytes_on_the_own_network(tiles: Path, loss: str, optimizer: str) -> None:
    assert twice(tiles, "unet", loss, optimizer)
