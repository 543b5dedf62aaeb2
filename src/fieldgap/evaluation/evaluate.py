"""Stage evaluate: every split measured with a run's last and best weights, the gaps, and where the last weights err."""

from __future__ import annotations

import copy
import dataclasses
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from fieldgap.base.errors import InputError
from fieldgap.base.files import read_json, read_rows, replacing, write_json, write_rows
from fieldgap.base.names import FRESH
from fieldgap.evaluation.breakdown import Examined, border_iou, by_scene, calibration_error
from fieldgap.network.build import build, loss_of
from fieldgap.network.device import prepare
from fieldgap.network.measure import gaps, measure
from fieldgap.network.measure import scores as scores_of
from fieldgap.tiles.packed import Tiles, load

if TYPE_CHECKING:
    from fieldgap.settings.sections import Evaluate


def load_weights(net: nn.Module, path: Path) -> None:
    """Fills `net` in place. Raises InputError when the file is missing, broken or of another network."""
    try:
        net.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be loaded ({error}); train this run again") from None


def parts_of(tiles: Tiles, config: Any) -> dict[str, np.ndarray]:
    """-> the tiles of whole splits; train is the share of it that the run learnt from."""
    return {"train": tiles.training(config.train_share), "val": tiles.indices("val"), "test": tiles.indices("test")}


def measure_splits(
    net: nn.Module, tiles: Tiles, config: Any, device: torch.device, examined: Mapping[str, Examined]
) -> dict[str, Any]:
    """-> the scores of train, val and test, whole splits, and the gaps of val and test against train.

    `examined` sees all predictions of its splits.
    """
    loss, measured = loss_of(config, tiles), {}
    for split, part in parts_of(tiles, config).items():
        watch = {"watch": examined[split].add} if split in examined else {}
        measured[split] = measure(net, tiles, part, loss, device, config.precision, **watch)
    return {**measured, "gap": {split: gaps(measured["train"], measured[split]) for split in ("val", "test")}}


def load_fresh(path: Path, tiles: Tiles) -> Tiles:
    """-> the tiles of the fresh scenes, for a network of `tiles`; none where the scenes are the user's own.

    Raises InputError when the file is missing or broken.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as packed:
            scenes = np.array([f"fresh_{scene:03d}" for scene in packed["scenes"].tolist()], np.str_)
            splits = np.full(len(scenes), "fresh")
            return dataclasses.replace(
                tiles, images=packed["images"], masks=packed["masks"], scenes=scenes, splits=splits
            )
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read ({error}); run normalize again") from None


def add_fresh(scores: dict[str, Any], counts: Mapping[str, np.ndarray]) -> None:
    """Adds the scores of the fresh scenes, and their gap against train, to those of measure_splits(); without a loss,
    which is no matter of counts."""
    scores["fresh"] = scores_of(np.sum(list(counts.values()), 0))
    scores["gap"]["fresh"] = gaps({name: scores["train"][name] for name in scores["fresh"]}, scores["fresh"])


def scene_rows(counted: Mapping[str, Mapping[str, np.ndarray]], classes: Sequence[str]) -> list[dict[str, object]]:
    """-> one row for each split, scene, true and predicted class: its pixels."""
    return [
        {"split": split, "scene": scene, "truth": truth, "predicted": predicted, "pixels": int(counts[i, j])}
        for split, scenes in counted.items()
        for scene, counts in scenes.items()
        for i, truth in enumerate(classes)
        for j, predicted in enumerate(classes)
    ]


def calibration_rows(examined: Mapping[str, Examined]) -> list[dict[str, object]]:
    """-> one row for each split and bin of confidence: its pixels, sum of confidences and right ones."""
    return [
        {"split": split, "bin": i, "pixels": int(pixels), "confidence": confidence, "right": int(right)}
        for split, each in examined.items()
        for i, (pixels, confidence, right) in enumerate(each.calibration.tolist())
    ]


def finite(value: Any) -> Any:
    """-> nested numbers with None, JSON's null, for each that is infinite or no number, as a diverged run's loss is."""
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def last_and_best(history: Sequence[Mapping[str, str]]) -> tuple[int, int]:
    """-> the last and the best epoch, the first of equals as in training; 0 for a run that completed none."""
    if not history:
        return 0, 0
    return int(history[-1]["epoch"]), int(max(history, key=lambda row: float(row["val_iou"]))["epoch"])


def run(tiles: Path, run: Path, config: Evaluate) -> None:
    """Writes metrics.json into the run's folder: how the training ended, the scores and gaps of the epoch that is kept,
    and below `best` those of the best one.

    Beside it, of the kept weights, scenes.csv and calibration.csv for all splits, and predictions.npz: the classes of
    the test tiles. Where the scenes are drawn, metrics.json and scenes.csv also hold fresh ones, without a loss.
    """
    trained: Any = SimpleNamespace(**read_json(run / "config.json"))
    last, best = last_and_best(read_rows(run / "history.csv"))
    kept = best if trained.keep == "best" else last
    device = prepare(config.device, trained.threads)
    packed = load(tiles, trained.fold, trained.split_by)
    fresh = load_fresh(tiles / FRESH, packed)
    net = build(trained, packed).to(device)
    load_weights(net, run / "best.safetensors")
    best_scores = measure_splits(net, packed, trained, device, {}) if best != kept else None
    load_weights(net, run / "weights.safetensors")
    parts = parts_of(packed, trained)
    examined = {split: Examined(packed) for split in parts}
    scores = measure_splits(net, packed, trained, device, examined)
    best_scores = {"epoch": best, **(best_scores or copy.deepcopy(scores))}  # Of the same epoch they are the same.
    for split, each in examined.items():
        scores[split] |= {"boundary_iou": border_iou(each.border)}
        scores[split] |= {"calibration_error": calibration_error(each.calibration)}
    counted = {split: each.scenes for split, each in examined.items()}
    if len(fresh.masks):
        counted["fresh"] = by_scene(net, fresh, fresh.indices("fresh"), device, trained.precision)
        add_fresh(scores, counted["fresh"])
    write_rows(run / "scenes.csv", scene_rows(counted, packed.classes))
    write_rows(run / "calibration.csv", calibration_rows(examined))
    with replacing(run / "predictions.npz") as draft, draft.open("wb") as file:
        np.savez_compressed(file, tiles=parts["test"], classes=examined["test"].predicted)
    status = read_json(run / "status.json")["status"]
    write_json(run / "metrics.json", finite({"status": status, "epoch": kept, **scores, "best": best_scores}))
