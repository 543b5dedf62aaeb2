"""Runs and tiles written by hand, without any training, for tests of what is computed from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fieldgap.analysis.runs import EvaluatedRun
from fieldgap.data.leakage import COLUMNS

CLASSES = ("background", "farmland")
SCENES = ("north", "south")


def history(train: Sequence[float], val: Sequence[float]) -> pd.DataFrame:
    """Return a history with these IoUs by epoch.

    Accuracies equal the IoUs, losses are 1 - IoU, and the running loss is 0.1 above the training loss.
    """
    epochs = np.arange(1, len(train) + 1)
    columns: dict[str, Any] = {"epoch": epochs, "lr": np.full(len(train), 0.1)}
    for split, values in (("train", train), ("val", val)):
        iou = np.array(values, np.float64)
        columns |= {f"{split}_iou": iou, f"{split}_accuracy": iou, f"{split}_background_iou": iou / 2}
        columns[f"{split}_loss"] = 1 - iou
    return pd.DataFrame({**columns, "running_loss": 1.1 - np.array(train, np.float64)})


def scene_counts(counts: Mapping[str, Sequence[Sequence[int]]], classes: Sequence[str] = CLASSES) -> pd.DataFrame:
    """Return the rows of scenes.csv for the test split, from counts (C, C) of each scene, truth by prediction."""
    rows = [
        {"split": "test", "scene": scene, "truth": truth, "predicted": predicted, "pixels": pixels[i][j]}
        for scene, pixels in counts.items()
        for i, truth in enumerate(classes)
        for j, predicted in enumerate(classes)
    ]
    return pd.DataFrame(rows)


CALIBRATION = pd.DataFrame(
    [{"split": "test", "bin": b, "pixels": 10, "confidence": 10 * (b + 0.5) / 15, "right": b % 11} for b in range(15)]
)
COUNTS = {"north": [[30, 10], [5, 55]], "south": [[40, 0], [10, 50]]}


def made_run(axes: Mapping[str, Any], status: str = "finished", **scores: float) -> EvaluatedRun:
    """Return a run with these axis values and final scores; all other scores are 0.5."""
    metrics = {f"{split}_{name}": 0.5 for split in ("train", "val", "test") for name in ("iou", "background_iou")}
    metrics |= {f"{best}gap_{split}_iou": 0.1 for best in ("", "best_") for split in ("val", "test")}
    metrics |= {"test_boundary_iou": 0.3, "test_calibration_error": 0.02, "epoch": 4, "best_epoch": 4}
    return EvaluatedRun(
        name="-".join(map(str, axes.values())),
        folder=Path("nowhere"),
        axes=dict(axes),
        config={"epochs": 4, "norm": "batch", **axes},
        status=status,
        history=history([0.4, 0.5, 0.6, 0.7], [0.4, 0.5, 0.5, metrics["val_iou"]]),
        steps=pd.DataFrame({"step": [0, 1], "epoch": [1, 2], "lr": [0.1, 0.05], "loss": [1.0, 0.5]}),
        scenes=scene_counts(COUNTS),
        calibration=CALIBRATION,
        metrics={**metrics, **scores},
    )


def save_tiles(folder: Path, names: Sequence[str], classes: int = 2, size: int = 8) -> None:
    """Write one tile for each test scene of these names, as stage normalize does."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", random.integers(0, 256, (len(names), size, size, 3)).astype(np.uint8))
    np.save(folder / "masks.npy", random.integers(0, classes, (len(names), size, size)).astype(np.uint8))
    rows = [{"tile": i, "scene": name, "split": "test", "fold": "", "y": 0, "x": 0} for i, name in enumerate(names)]
    pd.DataFrame(rows).to_csv(folder / "tiles.csv", index=False)
    pd.DataFrame(columns=COLUMNS).to_csv(folder / "leakage.csv", index=False)
    pixels = dict.fromkeys(CLASSES[:classes], size**2 // classes) | {"ignore": 0}
    same = {"split": "test", "height": size, "width": size, "tiles": 1, "pixels_snapped": 0}
    same |= {"pixels": pixels, "used": pixels}
    scenes = [{"scene": name, **same, "values": {"0": size**2}} for name in names]
    (folder / "mask_report.json").write_text(json.dumps({"classes": CLASSES, "scenes": scenes}))


def save_predictions(run: Path, tiles: Path) -> None:
    """Write the predictions of a run that is wrong in every third row of each tile."""
    run.mkdir(parents=True, exist_ok=True)
    classes = np.load(tiles / "masks.npy")
    classes[:, ::3] = 1 - np.minimum(classes[:, ::3], 1)
    np.savez_compressed(run / "predictions.npz", tiles=np.arange(len(classes)), classes=classes)


def save_run(folder: Path, run: EvaluatedRun, tiles: Path) -> None:
    """Write a run's files as the stages do, with empty weights."""
    save_predictions(folder / run.name, tiles)
    for name in ("history", "steps", "scenes", "calibration"):
        getattr(run, name).to_csv(folder / run.name / f"{name}.csv", index=False)
    status, right = {"status": run.status}, run.scenes["pixels"].where(run.scenes["truth"] == run.scenes["predicted"])
    share = right.sum() / run.scenes["pixels"].sum() if len(run.scenes) else 1.0
    accuracies = {"train_accuracy": 1.0, "val_accuracy": 1.0, "test_accuracy": share}  # All scenes are of test.
    metrics = {**status, **run.metrics, **accuracies}
    made = {"key": "", "machine": {}, "packages": {}, "epoch": len(run.history), "step": len(run.steps)}
    for name, content in (("config", run.config), ("status", {**status, **made}), ("metrics", metrics)):
        (folder / run.name / f"{name}.json").write_text(json.dumps(content))
    for name in ("weights", "best"):
        (folder / run.name / f"{name}.safetensors").touch()
