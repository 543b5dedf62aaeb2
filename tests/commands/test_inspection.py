from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import TINY, run_training
from torch import nn

from fieldgap.cli import main
from fieldgap.commands.inspection import first_signals, watched
from fieldgap.parts.losses import cross_entropy
from fieldgap.tiles.packed import load
from fieldgap.training.train import start

CPU = torch.device("cpu")


def rows_of(tiles: Path, **values: Any) -> pd.DataFrame:
    config = dataclasses.replace(TINY, **{"norm": "none", "width": 16, "depth": 3, "augment": False} | values)
    return pd.DataFrame(first_signals(start(config, load(tiles), CPU))).set_index("layer")


def test_each_weighted_layer_has_a_row_in_forward_order(tiles: Path) -> None:
    layers = list(rows_of(tiles).index)
    assert len(layers) == 2 * 4 + 3 + 2 * 3 + 1
    assert layers[0] == "net.down.0.0"
    assert layers[8:11] == ["net.grow.0", "net.up.0.0", "net.up.0.3"]
    assert layers[-1] == "net.head"


def test_weights_have_the_deviation_that_their_paper_gives(tiles: Path) -> None:
    """The deviation of n normal weights has the relative standard error 1 / sqrt(2 n). Five of them are allowed."""
    for init, theory in (("kaiming_normal", "he_std"), ("xavier_normal", "xavier_std")):
        rows = rows_of(tiles, init=init)
        net = start(dataclasses.replace(TINY, norm="none", width=16, depth=3, init=init), load(tiles), CPU).net
        for name, row in rows.iterrows():
            n = net.get_submodule(str(name)).weight.numel()
            assert row["weight_std"] == pytest.approx(row[theory], rel=5 / (2 * n) ** 0.5), name


def test_without_norms_he_keeps_the_signal_and_the_default_of_torch_loses_it(tiles: Path) -> None:
    down = [f"net.down.{level}.{layer}" for level in range(4) for layer in (0, 2 + 1)]
    kept, lost = (rows_of(tiles, init=init).loc[down] for init in ("kaiming_normal", "torch_default"))
    assert 0.3 < kept["activation_std"].iloc[-1] / kept["activation_std"].iloc[0] < 3
    assert lost["activation_std"].iloc[-1] / lost["activation_std"].iloc[0] < 0.05
    assert lost["gradient_std"].iloc[0] < kept["gradient_std"].iloc[0] / 10


def test_gradients_are_those_of_autograd() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1))
    images, classes = torch.randn(2, 3, 6, 6), torch.randint(2, (2, 4, 4))
    with watched(net) as rows:
        cross_entropy(net(images), classes).backward()
    first = net[0](images)
    logits = net[2](first.relu())
    gradients = torch.autograd.grad(cross_entropy(logits, classes), [first, logits])
    for row, output, gradient in zip(rows, (first, logits), gradients, strict=True):
        assert row["activation_std"] == pytest.approx(output.std().item())
        assert row["gradient_std"] == pytest.approx(gradient.std().item())


def test_dead_channels_are_counted() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    nn.init.constant_(net[0].bias, 100.0)
    with torch.no_grad():
        net[0].bias[1] = -100.0
    with watched(net) as rows:
        net(torch.randn(2, 3, 6, 6, requires_grad=True)).sum().backward()
    assert [row["dead_share"] for row in rows] == [0.25, 0.0]


def test_watching_changes_nothing_and_leaves_no_hook() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    images = torch.randn(1, 3, 5, 5)
    before = net(images)
    with watched(net) as rows:
        assert torch.equal(net(images), before)
    net(images)
    assert len(rows) == 1


def test_the_command_lists_each_variant_once(tiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for init in ("kaiming_normal", "xavier_normal"):
        for seed in (0, 1):
            config = dataclasses.replace(TINY, epochs=1, warmup_epochs=0, init=init, seed=seed)
            run_training(tiles, tmp_path / f"runs/{init}-{seed}", config)
    folders = ["--tiles", str(tiles), "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert main(["inspect", *folders, "--init", "kaiming_normal", "xavier_normal", "--seed", "0", "1"]) == 0
    table = pd.read_csv(tmp_path / "out/signals.csv")
    assert table.groupby("variant").size().to_dict() == {"init kaiming_normal": 13, "init xavier_normal": 13}
    assert "net.head" in capsys.readouterr().out
    assert (tmp_path / "out/signals.svg").read_text().startswith("<svg")
