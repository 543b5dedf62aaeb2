"""Command inspect: measure weights, activations and gradients of each variant's network before its first update."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import torch
import vl_convert
from torch import Tensor, nn

from fieldgap.analysis.runs import variant_of
from fieldgap.base.files import read_json, write_text
from fieldgap.network.device import prepare
from fieldgap.report.charts import curves
from fieldgap.tiles.batches import batches
from fieldgap.tiles.packed import Tiles, load
from fieldgap.training.initialise import Weighted, fans
from fieldgap.training.run import Run
from fieldgap.training.start import start


def _layer_hook(name: str, rows: list[dict[str, Any]]) -> Callable[..., None]:
    def hook(layer: Weighted, _: object, output: Tensor) -> None:
        fan_in, fan_out = fans(layer)
        row = {"layer": name, "fan_in": fan_in, "fan_out": fan_out, "weight_std": layer.weight.std().item()}
        row |= {"he_std": (2 / fan_in) ** 0.5, "xavier_std": (2 / (fan_in + fan_out)) ** 0.5}
        row |= {"activation_std": output.std().item(), "gradient_std": 0.0, "dead_share": 0.0}
        rows.append(row)
        output.register_hook(lambda gradient: row.update(gradient_std=gradient.std().item()))

    return hook


def _relu_hook(rows: list[dict[str, Any]]) -> Callable[..., None]:
    # The row is that of the layer before the ReLU.
    def hook(_: nn.Module, __: object, output: Tensor) -> None:
        rows[-1]["dead_share"] = (output.transpose(0, 1).flatten(1).amax(1) == 0).float().mean().item()

    return hook


@contextmanager
def watched(net: nn.Module) -> Iterator[list[dict[str, Any]]]:
    """Yield a list that one forward and backward pass fills with a row per weighted layer, in forward order.

    Columns: weight_std, and for comparison he_std, sqrt(2 / fan_in), and xavier_std, sqrt(2 / (fan_in + fan_out));
    activation_std of the layer's output; gradient_std of the loss with respect to that output; and dead_share, the
    share of channels that the following ReLU leaves at 0 in every pixel of the batch.
    """
    rows: list[dict[str, Any]] = []
    hooks = []
    for name, layer in net.named_modules():
        if isinstance(layer, Weighted):
            hooks.append(layer.register_forward_hook(_layer_hook(name, rows)))
        elif isinstance(layer, nn.ReLU):
            hooks.append(layer.register_forward_hook(_relu_hook(rows)))
    try:
        yield rows
    finally:
        for hook in hooks:
            hook.remove()


def first_signals(run: Run) -> list[dict[str, Any]]:
    """Return the rows of a run's first batch, in train mode and in fp32."""
    images, classes = next(batches(run.tiles, run.train, run.config, 1, run.device))
    with watched(run.net) as rows:
        run.loss(run.net(images), classes).backward()
    return rows


def signals(runs: Path, tiles: Tiles, grid: Mapping[str, dict[str, Any]], device: torch.device) -> pd.DataFrame:
    """Return the rows of all variants, each with the weights of its first seed."""
    tables: dict[str, pd.DataFrame] = {}
    for name, axes in grid.items():
        if (variant := variant_of(axes)) not in tables:
            config: Any = SimpleNamespace(**read_json(runs / name / "config.json"))
            rows = first_signals(start(config, tiles, device))
            tables[variant] = pd.DataFrame(rows).assign(variant=variant)
    return pd.concat(tables.values(), ignore_index=True)


def run(tiles: Path, runs: Path, out: Path, grid: Mapping[str, dict[str, Any]]) -> None:
    """Write signals.csv and signals.svg into the folder `out`, and print the table."""
    table = signals(runs, load(tiles), grid, prepare("cpu", threads=1))
    write_text(out / "signals.csv", table.to_csv(index=False, lineterminator="\n"))
    write_text(out / "signals.svg", vl_convert.vegalite_to_svg(curves.signals(table).to_dict()))
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3g}"))
