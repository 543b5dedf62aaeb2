"""Steps that are recorded once and then replayed, on a CPU, with a stand-in for what records CUDA graphs."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from repeats import same
from torch import Tensor, nn

from fieldgap.network.device import prepare
from fieldgap.settings.sections import Train
from fieldgap.tiles.batches import steps_per_epoch
from fieldgap.tiles.packed import load
from fieldgap.training import replay
from fieldgap.training.start import start
from fieldgap.training.state import tensors_of
from fieldgap.training.train import AHEAD, fit

BATCH = 10  # The last batch of an epoch is smaller.
CONFIG = dataclasses.replace(TINY, batch_size=BATCH)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Record on the CPU as CUDA would: recording computes nothing, and replaying writes to the same places.

    The memory used so far is exactly a tenth of what is free.
    """
    done: Counter[str] = Counter()

    def recorded(net: nn.Module, work: Callable[[], Tensor]) -> tuple[Tensor, list[Tensor | None], Callable[[], None]]:
        assert all(parameter.grad is None for parameter in net.parameters())
        before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        loss = work()
        places = [parameter.grad for parameter in net.parameters()]
        net.load_state_dict(before)
        done["recorded"] += 1
        assert all(place is not None for place in places)

        def again() -> None:
            net.zero_grad()
            loss.copy_(work())
            for place, parameter in zip(places, net.parameters(), strict=True):
                place.copy_(parameter.grad)  # type: ignore[union-attr, arg-type]
            net.zero_grad()
            done["replayed"] += 1

        return loss, places, again

    monkeypatch.setattr("fieldgap.training.start.replayable", lambda config, device: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 100)
    monkeypatch.setattr(replay, "recorded", recorded)
    return done


def trained(tiles: Path, config: Train) -> dict[str, Tensor]:
    run = start(config, load(tiles), prepare(config.device, config.threads))
    fit(run, lambda row: None)
    return tensors_of(run)


def unrecorded(tiles: Path, config: Train) -> dict[str, Tensor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fieldgap.training.start.replayable", lambda config, device: False)
        return trained(tiles, config)


@pytest.mark.parametrize(
    "values",
    [{}, {"clip_norm": 0.1, "ema": 0.9, "optimizer": "AdamW", "options": {}}, {"norm": "group", "precision": "bf16"}],
    ids=str,
)
def test_all_whole_batches_but_the_first_are_replayed_with_the_same_bits(
    tiles: Path, counts: Counter[str], values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(CONFIG, **values)
    expected = unrecorded(tiles, config)
    assert not counts
    monkeypatch.setitem(AHEAD, "cpu", 8)  # As on a GPU, losses are read when later steps are under way.
    assert same(trained(tiles, config), expected)
    whole = len(load(tiles).training(1.0)) // BATCH
    assert whole < steps_per_epoch(config, load(tiles).training(1.0))
    assert counts == {"recorded": 1, "replayed": config.epochs * whole - replay.FIRST}


@pytest.mark.parametrize("values", [{"micro_batch": 2}, {"epochs": 2, "batch_size": "full"}], ids=str)
def test_parts_of_batches_and_few_batches_are_computed_one_by_one(
    tiles: Path, counts: Counter[str], values: dict[str, Any]
) -> None:
    config = dataclasses.replace(CONFIG, **values)
    assert same(trained(tiles, config), unrecorded(tiles, config))
    assert not counts


def test_what_cuda_refuses_to_record_is_computed_one_by_one(
    tiles: Path, counts: Counter[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(net: nn.Module, work: Callable[[], Tensor]) -> None:
        for parameter in net.parameters():
            parameter.grad = torch.ones_like(
                parameter
            )  # A graph recorded halfway leaves gradients that were never computed.
        raise torch.OutOfMemoryError("CUDA out of memory.\nand much more")

    monkeypatch.setattr(replay, "recorded", refused)
    assert same(trained(tiles, CONFIG), unrecorded(tiles, CONFIG))
    assert capsys.readouterr().err == "no CUDA graph, so steps are slower: CUDA out of memory.\n"


def test_a_network_that_takes_much_of_the_memory_is_not_recorded(
    tiles: Path, counts: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 101)
    assert same(trained(tiles, CONFIG), unrecorded(tiles, CONFIG))
    assert not counts


@pytest.mark.parametrize(
    ("values", "device", "wanted"),
    [
        ({}, CUDA, True),
        ({"loss": "dice + 0.5*focal"}, CUDA, True),
        ({}, CPU, False),
        ({"recompute": True}, CUDA, False),
        ({"model": "smp.Unet"}, CUDA, False),
        ({"model": "mine.nets:unet"}, CUDA, False),
        ({"loss": "dice + 0.5*mine.losses:hinge"}, CUDA, False),
    ],
    ids=str,
)
def test_what_is_recorded(
    values: dict[str, Any], device: torch.device, wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    for name in "nets", "losses":
        Path(f"mine/{name}.py").write_text("def unet(classes): ...\ndef hinge(logits, target): ...\n")
    assert replay.replayable(dataclasses.replace(CONFIG, **values), device) == wanted


def test_a_batch_that_processes_share_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fieldgap.training.parallel.size", lambda: 2)
    assert not replay.replayable(CONFIG, CUDA)
