"""What only a CUDA device can test."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import test_recompute
import torch
from conftest import TINY, run_training
from killed import OUT, cut, in_a_folder_of_its_own, made, whole  # noqa: F401
from repeats import LARGE, PAIRS, same, twice
from test_replay import trained, unrecorded
from torch import Tensor

from fieldgap.base.errors import InputError
from fieldgap.network.device import prepare
from fieldgap.parts.losses import LOSSES
from fieldgap.parts.optimizers import OPTIMIZERS
from fieldgap.settings.sections import Train
from fieldgap.tiles.batches import batches
from fieldgap.tiles.packed import load
from fieldgap.training import replay, train
from fieldgap.training.start import start

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
CUDA = dataclasses.replace(TINY, device="cuda")


@pytest.fixture(autouse=True)
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_recompute, "CPU", torch.device("cuda"))


@pytest.fixture
def all_memory() -> Iterator[None]:
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_network_runs_deterministically_and_repeats(tiles: Path, large_tiles: Path, optimizer: str) -> None:
    assert torch.are_deterministic_algorithms_enabled()
    for model, loss, own in PAIRS:
        if own == optimizer:
            assert twice(large_tiles if model in LARGE else tiles, model, loss, optimizer), (model, loss)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_runs_deterministically_and_repeats(tiles: Path, loss: str) -> None:
    assert twice(tiles, "unet", loss, "SGD")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"optimizer": "AdamW", "options": {}, "residual": True, "precision": "bf16", "ema": 0.9},
        {"micro_batch": 2, "recompute": True, "residual": True, "precision": "bf16", "ema": 0.9},
    ],
    ids=str,
)
def test_from_every_step_a_cut_run_goes_on_to_the_same_bytes(tiles: Path, values: dict[str, Any]) -> None:
    config = dataclasses.replace(CUDA, **values)
    expected = whole(tiles, config)
    for at in range(expected["steps.csv"].count(b"\n") - 1):
        cut(tiles, config, at)
        run_training(tiles, OUT, config)
        assert made() == expected, at
        for path in OUT.iterdir():
            path.unlink()


@pytest.mark.parametrize("model", ["unet", "smp.Unet"])
@pytest.mark.parametrize("loss", LOSSES)
def test_no_step_after_the_first_waits(tiles: Path, loss: str, model: str) -> None:
    """With replayed steps of the own network, and single ones of another."""
    config = dataclasses.replace(test_recompute.config_of(model), device="cuda", loss=loss, clip_norm=1.0, batch_size=5)
    run = start(config, load(tiles), prepare("cuda", 1))
    drawn = batches(run.tiles, run.train, config, 1, run.device)
    train.step(run, *next(drawn), 0.1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in drawn:
            train.step(run, *batch, 0.1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert bool(getattr(run.gradients, "replay", None)) == (model == "unet")


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list to which each attempt to record a graph adds whether it succeeded."""
    found: list[bool] = []
    original = replay.Replay.record

    def record(*args: Any) -> Any:
        found.append(bool(result := original(*args)))
        return result

    monkeypatch.setattr(replay.Replay, "record", record)
    return found


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"optimizer": "AdamW", "precision": "bf16", "clip_norm": 0.1, "ema": 0.9},
        {"optimizer": "NAdam", "residual": True, "norm": "group"},
        {"width": 8, "depth": 3, "norm": "none", "augment": False},
    ],
    ids=str,
)
def test_replayed_steps_have_the_bits_of_single_ones(
    tiles: Path, loss: str, values: dict[str, Any], recordings: list[bool]
) -> None:
    """Weights, statistics, averages, the state of the optimizer, and all rows."""
    options = {} if "optimizer" in values else CUDA.options
    balanced = loss in {"cross_entropy", "focal"}
    config = dataclasses.replace(CUDA, batch_size=10, loss=loss, options=options, balanced=balanced, **values)
    expected = unrecorded(tiles, config)
    assert not recordings
    assert same(trained(tiles, config), expected)
    assert recordings == [True]


@pytest.mark.usefixtures("all_memory")
def test_without_memory_for_a_graph_steps_go_on_one_by_one(
    tiles: Path, recordings: list[bool], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = replay.recorded

    def cramped(*args: Any) -> Any:
        """There is room for the beginning of a graph only."""
        torch.cuda.empty_cache()
        room = torch.cuda.memory_reserved() + 30 * 2**20
        torch.cuda.set_per_process_memory_fraction(room / torch.cuda.get_device_properties(0).total_memory)
        try:
            return original(*args)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)

    config = dataclasses.replace(CUDA, width=64, batch_size=10)
    expected = unrecorded(tiles, config)
    monkeypatch.setattr(replay, "recorded", cramped)
    assert same(trained(tiles, config), expected)
    assert recordings == [False]
    assert "no CUDA graph, so steps are slower: CUDA out of memory" in capsys.readouterr().err


def test_a_loss_that_waits_cannot_be_recorded_and_steps_go_on_one_by_one(
    tiles: Path, recordings: list[bool], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original: Callable[..., Tensor] = LOSSES["squared_error"]

    def waits(logits: Tensor, target: Tensor) -> Tensor:
        loss = original(logits, target)
        assert float(loss) >= 0
        return loss

    monkeypatch.setitem(LOSSES, "squared_error", waits)
    config = dataclasses.replace(CUDA, loss="squared_error")
    assert same(trained(tiles, config), unrecorded(tiles, config))
    assert recordings == [False]
    assert "no CUDA graph, so steps are slower: " in capsys.readouterr().err


def refused(tiles: Path, config: Train) -> int:
    """Return the micro_batch that the message names."""
    with pytest.raises(InputError, match=r"do not fit into the memory of cuda; set train.micro_batch: \d+") as caught:
        run_training(tiles, OUT, config)
    return int(str(caught.value).partition("train.micro_batch: ")[2].partition(",")[0])


@pytest.mark.usefixtures("all_memory")
def test_out_of_memory_names_a_micro_batch_that_fits(tiles: Path) -> None:
    config = dataclasses.replace(CUDA, batch_size="full", width=128)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    run_training(tiles, Path("runs/ample"), config)
    ample, total = torch.cuda.max_memory_allocated(), torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.8 * ample / total)
    fits = refused(tiles, config)
    gc.collect()  # The exception held the memory of the first run.
    run_training(tiles, OUT, dataclasses.replace(config, micro_batch=fits))
    assert "weights.safetensors" in made()
