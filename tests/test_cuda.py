"""What only a CUDA device can show."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import test_recompute
import torch
from conftest import TINY
from test_recompute import LARGE
from test_repeats import PAIRS, twice
from test_state import OUT, cut, in_a_folder_of_its_own, made, whole  # noqa: F401

from fieldgap import train
from fieldgap.device import prepare
from fieldgap.errors import InputError
from fieldgap.losses import LOSSES
from fieldgap.optimizers import OPTIMIZERS
from fieldgap.sampling import batches
from fieldgap.sections import Train
from fieldgap.start import start
from fieldgap.tiles import load

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
    "values", [{}, {"micro_batch": 2, "recompute": True, "residual": True, "precision": "bf16", "ema": 0.9}], ids=str
)
def test_from_every_step_a_cut_run_goes_on_to_the_same_bytes(tiles: Path, values: dict[str, Any]) -> None:
    config = dataclasses.replace(CUDA, **values)
    expected = whole(tiles, config)
    for at in range(expected["steps.csv"].count(b"\n") - 1):
        cut(tiles, config, at)
        train.run(tiles, OUT, config)
        assert made() == expected, at
        for path in OUT.iterdir():
            path.unlink()


@pytest.mark.parametrize("loss", LOSSES)
def test_no_step_after_the_first_waits(tiles: Path, loss: str) -> None:
    config = dataclasses.replace(CUDA, loss=loss, clip_norm=1.0)
    run = start(config, load(tiles), prepare("cuda", 1))
    drawn = batches(run.tiles, run.train, config, 1, run.device)
    train.step(run, *next(drawn), 0.1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in drawn:
            train.step(run, *batch, 0.1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def refused(tiles: Path, config: Train) -> int:
    """-> the micro_batch that the message names."""
    with pytest.raises(InputError, match=r"do not fit into the memory of cuda; set train.micro_batch: \d+") as caught:
        train.run(tiles, OUT, config)
    return int(str(caught.value).partition("train.micro_batch: ")[2].partition(",")[0])


@pytest.mark.usefixtures("all_memory")
def test_out_of_memory_names_a_micro_batch_that_fits(tiles: Path) -> None:
    config = dataclasses.replace(CUDA, batch_size="full", width=128)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    train.run(tiles, Path("runs/ample"), config)
    ample, total = torch.cuda.max_memory_allocated(), torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.8 * ample / total)
    fits = refused(tiles, config)
    gc.collect()  # What was raised held the first run's memory.
    train.run(tiles, OUT, dataclasses.replace(config, micro_batch=fits))
    assert "weights.safetensors" in made()
