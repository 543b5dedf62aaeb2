"""Stage evaluate: every split measured with a run's last and best weights, and the gaps between them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from fieldgap.device import prepare
from fieldgap.errors import InputError
from fieldgap.files import read_json, read_rows, write_json
from fieldgap.measure import gaps, loss_of, measure
from fieldgap.model import build
from fieldgap.tiles import Tiles, load

if TYPE_CHECKING:
    from fieldgap.settings import Evaluate


def load_weights(net: nn.Module, path: Path) -> None:
    """Fills `net` in place. Raises InputError when the file is missing, broken or of another network."""
    try:
        net.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be loaded ({error}); train this run again") from None


def measure_splits(net: nn.Module, tiles: Tiles, config: Any, device: torch.device) -> dict[str, Any]:
    """-> the scores of train, val and test, whole splits, and the gaps of val and test against train."""
    loss = loss_of(config, tiles)
    parts = {"train": tiles.training(config.train_share), "val": tiles.indices("val"), "test": tiles.indices("test")}
    measured = {split: measure(net, tiles, part, loss, device, config.precision) for split, part in parts.items()}
    return {**measured, "gap": {split: gaps(measured["train"], measured[split]) for split in ("val", "test")}}


def run(tiles: Path, run: Path, config: Evaluate) -> None:
    """Writes metrics.json into the run's folder: the last epoch's scores and gaps, and below `best` the best one's."""
    trained: Any = SimpleNamespace(**read_json(run / "config.json"))
    history = read_rows(run / "history.csv")
    best = max(history, key=lambda row: float(row["val_iou"]))  # The first of equals, as in training.
    device = prepare(config.device, trained.threads)
    packed = load(tiles, trained.fold, trained.split_by)
    net = build(trained, packed).to(device)
    metrics: dict[str, dict[str, Any]] = {}
    for name, epoch in (("weights", int(history[-1]["epoch"])), ("best", int(best["epoch"]))):
        load_weights(net, run / f"{name}.safetensors")
        metrics[name] = {"epoch": epoch, **measure_splits(net, packed, trained, device)}
    write_json(run / "metrics.json", {**metrics["weights"], "best": metrics["best"]})
