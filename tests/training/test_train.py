from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, run_training
from safetensors.torch import load_file

from fieldgap.analysis.runs import read_run
from fieldgap.base.errors import InputError
from fieldgap.base.files import read_rows
from fieldgap.base.names import TRAINED
from fieldgap.evaluation import evaluate
from fieldgap.network.build import Standardized
from fieldgap.network.device import prepare
from fieldgap.network.measure import measure
from fieldgap.parts.losses import LOSSES, cross_entropy
from fieldgap.settings.sections import Evaluate
from fieldgap.tiles.batches import batch, batches, fixed_subset, seeded_generator, steps_per_epoch
from fieldgap.tiles.packed import load
from fieldgap.tracking.entries import final_metrics
from fieldgap.training import history, train
from fieldgap.training.gradients import gradients
from fieldgap.training.run import Run
from fieldgap.training.start import rates, start
from fieldgap.training.train import fit

CPU = prepare("cpu", TINY.threads)  # Two threads sum in another order.


def trained(tiles: Path, out: Path, **values: Any) -> dict[str, bytes]:
    """Train a run and return its files by name."""
    run_training(tiles, out, dataclasses.replace(TINY, **values))
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def test_the_same_values_give_the_same_bytes_whatever_the_global_state(tiles: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = trained(tiles, tmp_path / "a")
    torch.manual_seed(2)
    np.random.default_rng(3)
    assert first == trained(tiles, tmp_path / "b")
    assert set(first) == set(TRAINED)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"init": "xavier_normal"},
        {"warmup_epochs": 0},
        {"warmup": "constant"},
        {"warmup_start": 0.01},
        {"schedule": "constant"},
        {"schedule_per": "epoch"},
        {"augment": False},
        {"train_share": 0.5},
        {"balanced": True},
        {"loss": "dice"},
        {"optimizer": "Adam", "options": {}},
        {"options": {"SGD": {"momentum": 0.8}}},
        {"options": {"SGD": {"momentum": 0.9}, "cosine": {"final": 0.5}}},
        {"options": {"SGD": {"momentum": 0.9}, "kaiming_normal": {"fan": "fan_out"}}},
        {"weight_decay": 0.1},
        {"clip_norm": 0.01},
        {"ema": 0.5},
        {"batch_size": 4},
        {"micro_batch": 1},
        {"norm": "group"},
        {"residual": True},
        {"width": 3},
        {"precision": "bf16"},
    ],
    ids=str,
)
def test_each_value_matters(tiles: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    assert (
        trained(tiles, tmp_path / "a")["weights.safetensors"]
        != (trained(tiles, tmp_path / "b", **change)["weights.safetensors"])
    )


def test_zero_gamma_reaches_the_network(tiles: Path) -> None:
    config = dataclasses.replace(TINY, residual=True)
    plain, zero = (start(dataclasses.replace(config, zero_gamma=on), load(tiles), CPU).net for on in (False, True))
    assert sum(bool((p == 0).all()) for p in zero.parameters()) > sum(bool((p == 0).all()) for p in plain.parameters())


def test_a_share_of_the_scenes_is_what_is_trained_and_what_train_means(tiles: Path, tmp_path: Path) -> None:
    packed = load(tiles)
    config = dataclasses.replace(TINY, train_share=0.4)
    run = start(config, packed, CPU)
    assert run.train.tolist() == packed.training(0.4).tolist()
    fit(run, lambda row: None)
    trained(tiles, tmp_path, train_share=0.4)
    evaluate.run(tiles, tmp_path, Evaluate(device="cpu"))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    again = measure(run.net, packed, packed.training(0.4), cross_entropy, CPU, "fp32")
    assert metrics["train"]["loss"] == again["loss"]
    assert len(run.steps) == config.epochs * -(-len(run.train) // 3)


def test_rates_move_with_each_step_or_with_each_epoch() -> None:
    per_step, per_epoch = (rates(dataclasses.replace(TINY, schedule_per=per), 5) for per in ("step", "epoch"))
    assert len({per_step(step) for step in range(15)}) == 15
    assert [per_epoch(step) for step in range(15)] == [per_step(step - step % 5) for step in range(15)]


def test_history_has_the_promised_columns_and_one_row_per_epoch(tiles: Path, tmp_path: Path) -> None:
    trained(tiles, tmp_path)
    rows = read_rows(tmp_path / "history.csv")
    promised = "epoch lr train_loss train_iou train_accuracy val_loss val_iou val_accuracy running_loss".split()
    assert set(promised) <= set(rows[0])
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]


def test_the_rate_in_force_is_what_is_recorded(tiles: Path) -> None:
    run = start(TINY, load(tiles), CPU)
    seen: list[float] = []
    original = run.optimizer.step
    run.optimizer.step = lambda *_: (seen.append(run.optimizer.param_groups[0]["lr"]), original())  # type: ignore[method-assign, assignment]
    fit(run, lambda row: None)
    steps_per_epoch = -(-len(run.tiles.indices("train")) // TINY.batch_size)
    assert len(seen) == TINY.epochs * steps_per_epoch
    assert seen == [row["lr"] for row in run.steps]
    assert seen == [rates(TINY, steps_per_epoch)(step) for step in range(len(seen))]
    assert seen[0] == TINY.warmup_start
    assert seen[steps_per_epoch] == TINY.lr


def test_config_holds_every_value_and_the_resolved_device(tiles: Path, tmp_path: Path) -> None:
    trained(tiles, tmp_path, device="auto")
    config = json.loads((tmp_path / "config.json").read_text())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    assert config == json.loads(json.dumps({**dataclasses.asdict(TINY), "device": device}))
    assert config["options"]["SGD"] == {"momentum": 0.9}
    assert config["options"]["cosine"] == {"final": 0.0}, "a default is a value too"


def test_an_epoch_sees_every_training_tile_once_in_an_order_of_its_own(tiles: Path) -> None:
    packed = load(tiles)
    indices = packed.indices("train")
    plain = dataclasses.replace(TINY, augment=False)

    def order(epoch: int, config: Any = plain) -> list[bytes]:
        epochs = batches(packed, indices, config, epoch, CPU)
        return [image.permute(1, 2, 0).numpy().tobytes() for images, _ in epochs for image in images]

    everything = sorted(packed.images[i].tobytes() for i in indices)
    assert sorted(order(1)) == sorted(order(2)) == everything
    assert order(1) != order(2)
    assert order(1) == order(1)
    assert order(1) != order(1, dataclasses.replace(plain, seed=1))


def test_draws_of_epochs_and_seeds_are_apart() -> None:
    found = {seeded_generator(seed, epoch).initial_seed() for seed in range(20) for epoch in range(20)}
    assert len(found) == 400


def test_the_training_subset_is_fixed_and_as_large_as_val() -> None:
    train_tiles = np.arange(10, 110)
    chosen = fixed_subset(train_tiles, 40)
    assert len(chosen) == len(set(chosen)) == 40
    assert chosen[0] == 10
    assert chosen[-1] == 109
    assert fixed_subset(train_tiles, 500).tolist() == train_tiles.tolist()


def test_the_training_error_is_measured_in_eval_mode_without_augmentation(tiles: Path) -> None:
    packed = load(tiles)
    run = start(TINY, packed, CPU)
    fit(run, lambda row: None)
    subset = fixed_subset(packed.indices("train"), len(packed.indices("val")))
    again = measure(run.net, packed, subset, cross_entropy, CPU, "fp32")
    assert run.history[-1]["train_loss"] == again["loss"]
    assert run.history[-1]["train_iou"] == again["iou"]
    assert run.history[-1]["running_loss"] != again["loss"]


def test_a_network_without_norm_memorises_one_batch(tiles: Path) -> None:
    """The loss falls to a tenth when a single batch is repeated."""
    config = dataclasses.replace(TINY, norm="none", width=8, lr=0.05, augment=False)
    run = start(config, load(tiles), CPU)
    images, classes = batch(run.tiles, run.tiles.indices("train")[:2], CPU)
    losses = [train.step(run, images, classes, 0.05) for _ in range(150)]
    assert losses[-1] < losses[0] / 10


def test_bf16_trains_near_fp32(tiles: Path) -> None:
    runs = [start(dataclasses.replace(TINY, precision=p, augment=False), load(tiles), CPU) for p in ("fp32", "bf16")]
    for run in runs:
        fit(run, lambda row: None)
    losses = [run.steps[0]["loss"] for run in runs]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=2**-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 1000}, r"batch_size: 1000 is more than the \d+ training tiles"),
        ({"depth": 6}, "depth: 6 halvings need tiles that divide by 64, not 32 px"),
    ],
)
def test_what_does_not_fit_the_tiles_is_refused(
    tiles: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        trained(tiles, tmp_path / "run", **change)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_refused(tiles: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device: cuda was asked for, but torch finds no CUDA device"):
        trained(tiles, tmp_path / "run", device="cuda")


def test_evaluate_measures_the_weights_on_disk(tiles: Path, tmp_path: Path) -> None:
    trained(tiles, tmp_path)
    evaluate.run(tiles, tmp_path, Evaluate(device="cpu"))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    rows = read_rows(tmp_path / "history.csv")
    best = max(rows, key=lambda row: float(row["val_iou"]))
    assert metrics["epoch"] == TINY.epochs
    assert metrics["best"]["epoch"] == int(best["epoch"])
    assert metrics["val"]["iou"] == float(rows[-1]["val_iou"])
    assert metrics["val"]["loss"] == float(rows[-1]["val_loss"])
    assert metrics["best"]["val"]["iou"] == float(best["val_iou"])
    for measured in (metrics, metrics["best"]):
        for split in ("val", "test"):
            assert measured["gap"][split]["iou"] == measured["train"]["iou"] - measured[split]["iou"]
            assert measured["gap"][split]["loss"] == measured[split]["loss"] - measured["train"]["loss"]
    promised = {"loss", "accuracy", "iou", "background_iou", "mean_iou", "dice", "precision", "recall"}
    examined = {"boundary_iou", "calibration_error"}
    assert all(set(metrics[split]) == promised | examined for split in ("train", "val", "test"))


def test_best_weights_are_those_of_the_best_epoch(tiles: Path, tmp_path: Path) -> None:
    """A run is followed epoch by epoch, and the weights at its best val_iou are kept beside it."""
    run = start(TINY, load(tiles), CPU)
    states: list[dict[str, torch.Tensor]] = []
    fit(run, lambda row: states.append({name: t.clone() for name, t in run.net.state_dict().items()}))
    run_training(tiles, tmp_path, TINY)
    best = max(range(len(states)), key=lambda epoch: run.history[epoch]["val_iou"])
    for name, tensor in load_file(tmp_path / "best.safetensors").items():
        assert torch.equal(tensor, states[best][name])
    for name, tensor in load_file(tmp_path / "weights.safetensors").items():
        assert torch.equal(tensor, states[-1][name])


def test_broken_weights_are_named(tiles: Path, tmp_path: Path) -> None:
    trained(tiles, tmp_path)
    (tmp_path / "best.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(InputError, match=r"best\.safetensors: cannot be loaded.*train this run again"):
        evaluate.run(tiles, tmp_path, Evaluate(device="cpu"))
    assert not (tmp_path / "metrics.json").exists()


def test_steps_are_numbered_without_a_hole(tiles: Path, tmp_path: Path) -> None:
    trained(tiles, tmp_path)
    with (tmp_path / "steps.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(len(read_rows(tmp_path / "steps.csv"))))


def parameters_after_one_step(tiles: Path, **values: Any) -> tuple[Run, list[torch.Tensor]]:
    """Return a run, and its parameters after one update on the whole training split.

    It has no norms, so no tile affects another.
    """
    run = start(dataclasses.replace(TINY, norm="none", augment=False, batch_size="full", **values), load(tiles), CPU)
    for images, classes in batches(run.tiles, run.tiles.indices("train"), run.config, 1, CPU):
        train.step(run, images, classes, 0.1)
    return run, [parameter.detach().clone() for parameter in run.net.parameters()]


@pytest.mark.parametrize("micro_batch", [1, 5, 1000])
def test_full_is_the_gradient_of_the_whole_split_however_it_is_cut(tiles: Path, micro_batch: int) -> None:
    run, after = parameters_after_one_step(tiles, micro_batch=micro_batch, weight_decay=0.0, options={})
    again = start(run.config, run.tiles, CPU)
    images, classes = batch(run.tiles, run.tiles.indices("train"), CPU)
    gradients = torch.autograd.grad(cross_entropy(again.net(images), classes), list(again.net.parameters()))
    for old, gradient, new in zip(again.net.parameters(), gradients, after, strict=True):
        torch.testing.assert_close(new, old - 0.1 * gradient, rtol=1e-5, atol=1e-7)


def test_full_takes_one_step_per_epoch_and_one_takes_one_per_tile(tiles: Path) -> None:
    for batch_size, steps in (("full", 3), (1, 3 * len(load(tiles).indices("train")))):
        run = start(dataclasses.replace(TINY, batch_size=batch_size), load(tiles), CPU)
        fit(run, lambda row: None)
        assert len(run.steps) == steps


def test_clipping_bounds_the_update_and_keeps_its_direction(tiles: Path) -> None:
    plain = {"weight_decay": 0.0, "options": {}}
    run, free = parameters_after_one_step(tiles, **plain)
    _, clipped = parameters_after_one_step(tiles, clip_norm=0.01, **plain)
    origin = list(start(run.config, run.tiles, CPU).net.parameters())
    long, short = (torch.cat([(a - b).flatten() for a, b in zip(x, origin, strict=True)]) for x in (free, clipped))
    assert long.norm() > short.norm()
    assert short.norm().item() == pytest.approx(0.1 * 0.01, rel=1e-3)
    assert torch.nn.functional.cosine_similarity(long, short, dim=0).item() == pytest.approx(1, abs=1e-5)


def test_the_average_of_weights_is_its_closed_form_and_is_what_is_measured(tiles: Path) -> None:
    """e(1) = w(1), e(k) = d e(k-1) + (1-d) w(k)."""
    run = start(dataclasses.replace(TINY, ema=0.75), load(tiles), CPU)
    expected: list[torch.Tensor] = []
    original = run.optimizer.step

    def spied(*args: Any) -> None:
        original(*args)
        now = [parameter.detach().clone() for parameter in run.net.parameters()]
        expected[:] = [0.75 * e + 0.25 * w for e, w in zip(expected, now, strict=True)] if expected else now

    run.optimizer.step = spied  # type: ignore[method-assign, assignment]
    fit(run, lambda row: None)
    for ours, theirs in zip(run.result.parameters(), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    measured = measure(run.result, run.tiles, run.tiles.indices("val"), cross_entropy, CPU, "fp32")
    assert run.history[-1]["val_loss"] == measured["loss"]
    assert not torch.equal(next(run.result.parameters()), next(run.net.parameters()))


def test_balanced_training_weighs_classes_by_the_training_pixels(tiles: Path) -> None:
    packed = load(tiles)
    options = {"SGD": {"momentum": 0.9}, "cross_entropy": {"label_smoothing": 0.1}}
    run = start(dataclasses.replace(TINY, balanced=True, options=options), packed, CPU)
    images, classes = batch(packed, packed.indices("val"), CPU)
    logits = run.net(images)
    weights = packed.balanced_weights(packed.indices("train"))
    assert weights[0] != weights[1]
    expected = cross_entropy(logits, classes, label_smoothing=0.1, weights=weights)
    assert torch.equal(run.loss(logits, classes), expected)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_trains_and_repeats_its_bytes(tiles: Path, name: str) -> None:
    runs = [start(dataclasses.replace(TINY, loss=name, options={}), load(tiles), CPU) for _ in range(2)]
    for run in runs:
        fit(run, lambda row: None)
    assert runs[0].steps == runs[1].steps
    assert all(np.isfinite(row["loss"]) for row in runs[0].steps)
    for ours, theirs in zip(runs[0].net.state_dict().values(), runs[1].net.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def diverged(tiles: Path, out: Path, **values: Any) -> dict[str, Any]:
    """Train and evaluate a run that must diverge, and return its status.json."""
    trained(tiles, out, **values)
    evaluate.run(tiles, out, Evaluate(device="cpu"))
    status: dict[str, Any] = json.loads((out / "status.json").read_text())
    assert status["status"] == json.loads((out / "metrics.json").read_text())["status"] == "diverged"
    rows = read_rows(out / "history.csv") + read_rows(out / "steps.csv")
    assert np.isfinite([float(value) for row in rows for value in row.values()]).all()
    for name in ("weights", "best"):
        assert all(tensor.isfinite().all() for tensor in load_file(out / f"{name}.safetensors").values())
    return status


def test_a_loss_that_is_not_a_number_ends_a_run_at_its_step(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the third step of the second epoch, so the weights are those after one epoch."""
    plain = dataclasses.replace(TINY, schedule="constant")
    count = steps_per_epoch(plain, load(tiles).indices("train"))
    run = start(plain, load(tiles), CPU)

    def broken(*args: Any) -> float:
        calls.append(0)
        return float("nan") if len(calls) == count + 3 else gradients(*args)

    calls: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr("fieldgap.training.start.gradients", broken)
        status = diverged(tiles, tmp_path / "run", schedule="constant")
    assert status["reason"] == f"the loss of step {count + 2} is nan"
    assert (status["epoch"], status["step"]) == (1, count + 2)
    assert len(read_rows(tmp_path / "run/history.csv")) == 1
    assert len(read_rows(tmp_path / "run/steps.csv")) == count + 2
    train.train_epoch(run, 1, lambda run: None)
    for name, tensor in load_file(tmp_path / "run/weights.safetensors").items():
        assert torch.equal(tensor, run.net.state_dict()[name])


def test_a_run_that_diverges_before_its_first_epoch_ends_keeps_its_start(tiles: Path, tmp_path: Path) -> None:
    values: dict[str, Any] = {"norm": "none", "lr": 1e30, "warmup_epochs": 0, "schedule": "constant"}
    status = diverged(tiles, tmp_path / "run", **values)
    assert status["reason"] == "the loss of step 1 is nan"
    assert (status["epoch"], status["step"]) == (0, 1)
    columns = (tmp_path / "run/history.csv").read_text().splitlines()
    assert columns == [",".join(history.COLUMNS)]
    weights = start(dataclasses.replace(TINY, **values), load(tiles), CPU).net.state_dict()
    for name in ("weights", "best"):
        for key, tensor in load_file(tmp_path / f"run/{name}.safetensors").items():
            assert torch.equal(tensor, weights[key])
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["epoch"] == metrics["best"]["epoch"] == 0


def test_a_start_whose_loss_is_not_a_number_is_measured_too(tiles: Path, tmp_path: Path) -> None:
    """With far too large weights, scores that are not finite are null, and such pixels have no confidence."""
    values: dict[str, Any] = {
        "norm": "none",
        "init": "truncated_normal",
        "options": {"truncated_normal": {"std": 1e30}},
    }
    status = diverged(tiles, tmp_path / "run", **values)
    assert status["reason"] == "the loss of step 0 is nan"
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["val"]["loss"] is metrics["gap"]["val"]["loss"] is None
    assert 0 <= metrics["val"]["iou"] <= 1
    run = read_run(tmp_path / "run", {})
    assert np.isnan(run.metrics["val_loss"])
    finals = final_metrics(run.metrics)
    assert "final_val_loss" not in finals
    assert finals["final_val_iou"] == (metrics["val"]["iou"], 0)
    held = [row for row in read_rows(tmp_path / "run/scenes.csv") if row["split"] != "fresh"]
    known = sum(int(row["pixels"]) for row in held)
    counted = [row for row in read_rows(tmp_path / "run/calibration.csv") if int(row["pixels"])]
    assert sum(int(row["pixels"]) for row in counted) == known
    assert sum(float(row["confidence"]) for row in counted) < known


def test_an_epoch_of_batches_above_the_bound_is_an_explosion_and_a_spike_is_not(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first loss is 2, so the bound is 2000: all batches of epoch 2 are above it, and all but one of epoch 1."""
    count = steps_per_epoch(TINY, load(tiles).indices("train"))
    losses = [2.0] + [1e6] * (count - 1) + [2001.0] * count + [1.0] * count
    monkeypatch.setattr("fieldgap.training.start.gradients", lambda *args: losses.pop(0))
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: None)
    status = diverged(tiles, tmp_path / "run")
    assert status["reason"] == "each batch of epoch 2 has a loss above 2000"
    assert (status["epoch"], status["step"]) == (1, 2 * count)
    assert len(read_rows(tmp_path / "run/history.csv")) == 1


def test_an_epoch_with_an_infinite_score_is_not_completed(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last update of an epoch may break the weights, and no later batch shows it."""
    original = train.measure_epoch

    def broken(run: Run) -> dict[str, float]:
        return original(run) | ({"val_loss": float("inf")} if len(run.history) == 2 else {})

    with monkeypatch.context() as patch:
        patch.setattr(train, "measure_epoch", broken)
        status = diverged(tiles, tmp_path / "run")
    assert status["reason"] == "val_loss of epoch 3 is inf"
    assert status["epoch"] == 2


@pytest.mark.parametrize(
    ("ious", "patience", "epochs"), [((5, 4, 3, 6), 2, 3), ((5, 4, 6, 3), 2, 4), ((5, 5, 5), 1, 2), ((5, 4, 3), 0, 3)]
)
def test_patience_ends_a_run_that_many_epochs_after_its_best(
    tiles: Path, monkeypatch: pytest.MonkeyPatch, ious: tuple[float, ...], patience: int, epochs: int
) -> None:
    values = list(ious)
    monkeypatch.setattr(train, "measure_epoch", lambda run: {"epoch": len(run.history) + 1, "val_iou": values.pop(0)})
    run = start(dataclasses.replace(TINY, epochs=len(ious), patience=patience), load(tiles), CPU)
    fit(run, lambda row: None)
    assert len(run.history) == epochs
    assert run.steps[0]["lr"] == TINY.warmup_start


def test_without_patience_all_epochs_are_trained_and_with_it_the_same_ones(tiles: Path, tmp_path: Path) -> None:
    whole = trained(tiles, tmp_path / "whole", epochs=6, lr=0.5)
    short = trained(tiles, tmp_path / "short", epochs=6, lr=0.5, patience=1)
    assert whole["history.csv"].startswith(short["history.csv"])
    assert whole["history.csv"] != short["history.csv"]
    assert whole["steps.csv"].startswith(short["steps.csv"])


def test_the_best_epoch_can_be_what_a_run_keeps(tiles: Path, tmp_path: Path) -> None:
    last = trained(tiles, tmp_path / "last", epochs=6, lr=0.5)
    best = trained(tiles, tmp_path / "best", epochs=6, lr=0.5, keep="best")
    assert last["weights.safetensors"] != last["best.safetensors"]
    assert best["weights.safetensors"] == best["best.safetensors"] == last["best.safetensors"]
    evaluate.run(tiles, tmp_path / "best", Evaluate(device="cpu"))
    metrics = json.loads((tmp_path / "best/metrics.json").read_text())
    assert metrics["epoch"] == metrics["best"]["epoch"] < 6
    assert metrics["val"].items() >= metrics["best"]["val"].items()


@pytest.mark.parametrize(
    ("room", "mend"), [(2, "set train.micro_batch: 2, which does"), (0, "set train.recompute: true")]
)
def test_out_of_memory_names_a_micro_batch_that_fits(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, mend: str
) -> None:
    """A device with room for `room` tiles at once."""
    forward = Standardized.forward

    def small(self: Standardized, images: torch.Tensor) -> torch.Tensor:
        if self.training and len(images) > room:
            raise torch.OutOfMemoryError("out of memory")
        return forward(self, images)

    monkeypatch.setattr(Standardized, "forward", small)
    message = f"micro_batch: 10 tiles at once do not fit into the memory of cpu; {mend}"
    with pytest.raises(InputError, match=message):
        trained(tiles, tmp_path, batch_size=10)
    if room:
        trained(tiles, tmp_path, batch_size=10, micro_batch=room)


def test_a_batch_too_small_for_a_norm_is_refused(tiles: Path, tmp_path: Path) -> None:
    """Five halvings of one tile of 32 px leave a single value per channel."""
    with pytest.raises(InputError, match=r"batch_size: a part of a batch is too small .*more than 1 value per channel"):
        trained(tiles, tmp_path, depth=5, batch_size=1)
