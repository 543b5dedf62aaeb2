"""A run that is cut short goes on, and ends with the bytes of one that is not."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY as LONG
from conftest import key_of, run_training
from killed import (
    OUT,
    cut,
    in_a_folder_of_its_own,  # noqa: F401
    made,
    whole,
)

from fieldgap.base import names
from fieldgap.base.errors import InputError
from fieldgap.network.device import machine
from fieldgap.parts.optimizers import OPTIMIZERS
from fieldgap.settings.sections import Train
from fieldgap.tiles.batches import steps_per_epoch
from fieldgap.tiles.packed import load
from fieldgap.training import checkpoints, state, train
from fieldgap.training.checkpoints import Checkpoints
from fieldgap.training.start import start

TINY = dataclasses.replace(LONG, batch_size=10)
CPU = torch.device("cpu")


def states(config: Train, tiles: Path, out: Path = OUT) -> list[Path]:
    return sorted(Checkpoints(out, key_of(config, tiles), machine(CPU)).folder.glob("*.safetensors"))


def total_steps(tiles: Path, config: Train) -> int:
    packed = load(tiles)
    return config.epochs * steps_per_epoch(config, packed.training(config.train_share))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"ema": 0.9, "clip_norm": 0.1, "optimizer": "AdamW", "options": {"AdamW": {"amsgrad": True}}, "keep": "best"},
        {"micro_batch": 2, "recompute": True, "residual": True, "precision": "bf16", "patience": 1},
    ],
    ids=["plain", "averaged", "accumulated"],
)
def test_from_every_step_a_cut_run_goes_on_to_the_same_bytes(tiles: Path, values: dict[str, Any]) -> None:
    config = dataclasses.replace(TINY, **values)
    expected = whole(tiles, config)
    for at in range(expected["steps.csv"].count(b"\n") - 1):
        cut(tiles, config, at)
        assert made() == {}
        run_training(tiles, OUT, config)
        assert made() == expected, at
        for path in OUT.iterdir():
            path.unlink()


def test_a_run_that_is_cut_at_each_of_its_steps_in_turn_ends_the_same(
    tiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, steps = whole(tiles, TINY), total_steps(tiles, TINY)
    for at in range(1, steps):
        cut(tiles, TINY, at)
        capsys.readouterr()
    for name in ("measure_epoch", "write_outputs"):
        cut(tiles, TINY, 0, name)
    run_training(tiles, OUT, TINY)
    assert f"goes on after step {steps}\n" in capsys.readouterr().out
    assert made() == expected


@pytest.mark.parametrize("ahead", [3, 100])
def test_losses_that_are_read_some_steps_later_change_nothing(
    tiles: Path, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    """As on a GPU: a whole run, one that is cut at a step, and one that diverges."""
    wild = dataclasses.replace(TINY, norm="none", lr=1e30, warmup_epochs=0, schedule="constant")
    expected = {name: whole(tiles, config) for name, config in (("tame", TINY), ("wild", wild))}
    assert b"the loss of step 1 is nan" in expected["wild"]["status.json"]
    monkeypatch.setitem(train.AHEAD, "cpu", ahead)
    assert whole(tiles, wild) == expected["wild"]
    for at in (0, total_steps(tiles, TINY) // 2, total_steps(tiles, TINY) - 1):
        cut(tiles, TINY, at)
        run_training(tiles, OUT, TINY)
        assert made() == expected["tame"], at
        for path in OUT.iterdir():
            path.unlink()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_goes_on_where_it_was(tiles: Path, name: str) -> None:
    config = dataclasses.replace(TINY, optimizer=name, lr=0.01, options={})
    expected = whole(tiles, config)
    cut(tiles, config, total_steps(tiles, config) // 2)
    run_training(tiles, OUT, config)
    assert made() == expected


def test_a_state_brings_back_every_bit_and_the_order_in_memory(tiles: Path) -> None:
    config = dataclasses.replace(TINY, optimizer="Adam", options={}, ema=0.5)
    packed = load(tiles)
    one, other = start(config, packed, CPU), start(config, packed, CPU)
    train.fit(one, lambda row: None)
    state.restore(other, state.tensors_of(one))
    assert (one.history, one.steps) == (other.history, other.steps)
    for ours, theirs in zip(one.optimizer.state.values(), other.optimizer.state.values(), strict=True):
        assert list(ours) == list(theirs) == ["step", "exp_avg", "exp_avg_sq"]
        for name, tensor in ours.items():
            assert torch.equal(tensor, theirs[name])
            assert tensor.stride() == theirs[name].stride()
    before, after = state.tensors_of(one), state.tensors_of(other)
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip, lambda path: path.write_bytes(b"")])
def test_a_damaged_state_is_named_and_the_one_before_it_used(
    tiles: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    expected = whole(tiles, TINY)
    cut(tiles, TINY, 5)
    before, newest = states(TINY, tiles)
    damage(newest)
    capsys.readouterr()
    run_training(tiles, OUT, TINY)
    shown = capsys.readouterr()
    assert shown.err == f"{newest}: is damaged, so the state before it is used\n"
    assert f"goes on after step {int(before.name[:9])}\n" in shown.out
    assert made() == expected


def test_without_a_whole_state_a_run_starts_again(tiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = whole(tiles, TINY)
    cut(tiles, TINY, 5)
    for path in states(TINY, tiles):
        flip(path)
    run_training(tiles, OUT, TINY)
    assert "goes on" not in capsys.readouterr().out
    assert made() == expected


def test_other_values_or_another_machine_start_again_and_the_old_values_go_on(
    tiles: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = dataclasses.replace(TINY, seed=1)
    expected = whole(tiles, other)
    cut(tiles, TINY, 5)
    cut(tiles, other, 2)
    assert len(states(TINY, tiles)) == len(states(other, tiles)) == 2
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("WORLD_SIZE", "1")
        elsewhere.setattr(train, "machine", lambda device: {**machine(device), "cpu": "another"})
        cut(tiles, TINY, 1)
    assert "goes on" not in capsys.readouterr().out
    run_training(tiles, OUT, other)
    assert "goes on after step 2\n" in capsys.readouterr().out
    assert made() == expected


def test_a_run_that_begins_anew_uses_no_state_and_no_spool_of_an_earlier_attempt(
    tiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when someone forces it. What was saved under other values stays."""
    expected, other = whole(tiles, TINY), dataclasses.replace(TINY, seed=1)
    monkeypatch.setattr(names, "SPOOLS", Path("spool"))
    cut(tiles, TINY, 5)
    cut(tiles, other, 2)
    taken: list[int] = []
    original = train.step
    monkeypatch.setattr(train, "step", lambda run, *rest: (taken.append(len(run.steps)), original(run, *rest))[1])
    monkeypatch.setattr(Checkpoints, "remove", lambda _: None)
    train.run(tiles, OUT, TINY, key_of(TINY, tiles), anew=True)
    assert taken == list(range(total_steps(tiles, TINY)))
    assert made() == expected
    assert len(states(other, tiles)) == 2
    lines = [json.loads(line) for line in Path("spool", f"{key_of(TINY, tiles)}.jsonl").read_text().splitlines()]
    assert [(line.keys() - {"time"}).pop() for line in lines if "config" not in line] == ["row"] * TINY.epochs + ["end"]
    assert len(lines) == TINY.epochs + 2


def test_a_finished_run_leaves_no_state_and_a_cut_one_the_last_two(tiles: Path) -> None:
    cut(tiles, TINY, 5)
    assert [int(path.name[:9]) for path in states(TINY, tiles)] == [4, 5]
    run_training(tiles, OUT, TINY)
    assert not [path for path in Path(".fieldgap").rglob("*") if path.is_file()]


def test_states_that_cannot_be_removed_cost_no_result_but_stop_a_run_that_is_to_begin_anew(
    tiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = whole(tiles, TINY)
    cut(tiles, TINY, 5)
    real = os.unlink

    def refuse(path: str | Path, **options: Any) -> None:
        if str(path).endswith(".safetensors"):
            raise PermissionError(13, "Permission denied")
        real(path, **options)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(InputError, match=r"\.states: cannot be written \(Permission denied\)"):
        train.run(tiles, OUT, TINY, key_of(TINY, tiles), anew=True)
    run_training(tiles, OUT, TINY)
    assert made() == expected
    assert states(TINY, tiles)


def test_a_draft_of_a_killed_process_is_removed(tiles: Path) -> None:
    expected = whole(tiles, TINY)
    OUT.mkdir(parents=True)
    (OUT / ".weights.safetensors.123.draft").write_bytes(b"half")
    run_training(tiles, OUT, TINY)
    assert made() == expected


def test_each_folder_of_results_has_states_of_its_own() -> None:
    here, root_of = Path.cwd(), checkpoints.root_of
    assert root_of(Path("runs/a")) == root_of(here / "runs/a") == checkpoints.FOLDER / "runs/a"
    assert root_of(Path("/elsewhere/a")) == checkpoints.FOLDER / "elsewhere/a"


def test_writing_states_takes_a_hundredth_of_the_time(tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which a step takes 1 s, and writing a state 3 s."""
    monkeypatch.setattr(checkpoints, "SHARE", 0.01)
    now, written = [1000.0], []
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])

    def write(folder: Path, step: int, tensors: object) -> None:
        now[0] += 3
        written.append(step)

    monkeypatch.setattr(checkpoints, "write", write)
    run = start(TINY, load(tiles), CPU)
    saver = Checkpoints(Path("unused"), "", {})
    for _ in range(3000):
        now[0] += 1
        run.steps.append({"step": len(run.steps), "epoch": 1, "lr": 0.1, "loss": 1.0})
        saver.save_if_due(run)
    assert written == list(range(1, 3001, 300))


def test_a_full_disk_ends_a_run_that_can_go_on(tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = whole(tiles, TINY)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(checkpoints.os, "fsync", full)
        with pytest.raises(
            InputError, match=r"safetensors: cannot be written \(No space left on device\); check free space"
        ):
            run_training(tiles, OUT, TINY)
    assert made() == {}
    assert not states(TINY, tiles)
    run_training(tiles, OUT, TINY)
    assert made() == expected
