"""How evaluate treats fresh scenes; tests/training/test_train.py tests what it measures on the splits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ELSEWHERE, NORMALIZE, TINY, data_in, run_training

from fieldgap.analysis.confusions import confusions
from fieldgap.base.errors import InputError
from fieldgap.base.files import read_json
from fieldgap.data import normalize
from fieldgap.evaluation import evaluate
from fieldgap.evaluation.evaluate import gaps, load_fresh, load_weights
from fieldgap.network.build import build
from fieldgap.network.measure import measure
from fieldgap.parts.losses import cross_entropy
from fieldgap.settings.sections import Evaluate
from fieldgap.tiles.packed import load

CPU = Evaluate(device="cpu")


@pytest.fixture(scope="module")
def run(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a trained and evaluated run, which tests only read."""
    folder = tmp_path_factory.mktemp("run")
    run_training(tiles, folder, TINY)
    evaluate.run(tiles, folder, CPU)
    return folder


def test_a_gap_is_the_held_out_error_minus_the_training_error() -> None:
    assert gaps({"iou": 0.9, "loss": 0.2}, {"iou": 0.7, "loss": 0.5}) == pytest.approx({"iou": 0.2, "loss": 0.3})


def test_fresh_scenes_are_measured_like_every_split(tiles: Path, run: Path) -> None:
    packed = load(tiles)
    fresh = load_fresh(tiles / "fresh.npz", packed)
    net = build(TINY, packed)
    load_weights(net, run / "weights.safetensors")
    expected = measure(net, fresh, np.arange(20), cross_entropy, torch.device("cpu"), "fp32")
    metrics = read_json(run / "metrics.json")
    assert metrics["fresh"] == {name: value for name, value in expected.items() if name != "loss"}
    assert metrics["gap"]["fresh"] == {name: metrics["train"][name] - value for name, value in metrics["fresh"].items()}


def test_scenes_csv_has_the_counts_of_each_fresh_scene(run: Path) -> None:
    counts = confusions(pd.read_csv(run / "scenes.csv"), "fresh")
    assert list(counts) == [f"fresh_{scene:03d}" for scene in range(5)]
    assert {confusion.sum() for confusion in counts.values()} == {64 * 64}
    whole = sum(counts.values())
    assert np.trace(whole) / whole.sum() == read_json(run / "metrics.json")["fresh"]["accuracy"]


def test_without_drawn_scenes_nothing_is_said_about_fresh_ones(
    scenes: Path, tiles: Path, run: Path, tmp_path: Path
) -> None:
    normalize.run(data_in(scenes), tiles.parent / "split.csv", ELSEWHERE, tmp_path / "tiles", NORMALIZE)
    shutil.copytree(run, tmp_path / "run")
    evaluate.run(tmp_path / "tiles", tmp_path / "run", CPU)
    for name in ("metrics.json", "scenes.csv", "calibration.csv"):
        assert "fresh" not in (tmp_path / "run" / name).read_text()
    with_fresh, without = (read_json(folder / "metrics.json") for folder in (run, tmp_path / "run"))
    del with_fresh["fresh"], with_fresh["gap"]["fresh"]
    assert with_fresh == without


def test_a_missing_file_of_fresh_scenes_is_named(tiles: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiles, tmp_path / "tiles")
    (tmp_path / "tiles/fresh.npz").unlink()
    with pytest.raises(InputError, match=r"fresh\.npz: cannot be read .*; run normalize again"):
        evaluate.run(tmp_path / "tiles", run, CPU)
