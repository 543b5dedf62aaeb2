"""Stage evaluate: measure a run's kept and best weights on every split, and break down where the kept ones err."""

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
from fieldgap.base.scores import best_epoch
from fieldgap.base.scores import scores as scores_of
from fieldgap.evaluation.breakdown import Breakdown, border_iou, by_scene, calibration_error
from fieldgap.network.build import build, loss_of
from fieldgap.network.device import prepare
from fieldgap.network.measure import measure
from fieldgap.tiles.packed import Tiles, load

if TYPE_CHECKING:
    from fieldgap.settings.sections import Evaluate


def load_weights(net: nn.Module, path: Path) -> None:
    """Load weights into a network, in place.

    Raises:
        InputError: If the file is missing, broken, or of another network.
    """
    try:
        net.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be loaded ({error}); train this run again") from None


def load_fresh(path: Path, tiles: Tiles) -> Tiles:
    """Return the tiles of the fresh scenes, all in the split `fresh`; there are none if the user brought the scenes.

    Args:
        path: The file of fresh scenes that stage normalize wrote.
        tiles: The run's own tiles, whose classes and statistics hold for these too.

    Raises:
        InputError: If the file is missing or broken.
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


def gaps(train: Mapping[str, float], held_out: Mapping[str, float]) -> dict[str, float]:
    """Return the held-out error minus the training error for each metric.

    The error is 1 - metric; the loss is an error already.
    """
    return {k: held_out[k] - train[k] if k == "loss" else train[k] - held_out[k] for k in train}


def _splits_of(tiles: Tiles, config: Any) -> dict[str, np.ndarray]:
    """Return the tiles of each split; those of train are the ones that the run learnt from."""
    return {"train": tiles.training(config.train_share), "val": tiles.indices("val"), "test": tiles.indices("test")}


def _measure_splits(
    net: nn.Module, tiles: Tiles, config: Any, device: torch.device, breakdowns: Mapping[str, Breakdown]
) -> dict[str, Any]:
    """Return the scores of each split and the gaps of val and test, and add all predictions to the breakdowns."""
    loss, measured = loss_of(config, tiles), {}
    for split, indices in _splits_of(tiles, config).items():
        watch = {"watch": breakdowns[split].add} if split in breakdowns else {}
        measured[split] = measure(net, tiles, indices, loss, device, config.precision, **watch)
    return {**measured, "gap": {split: gaps(measured["train"], measured[split]) for split in ("val", "test")}}


def _add_breakdowns(scores: dict[str, Any], breakdowns: Mapping[str, Breakdown]) -> None:
    for split, breakdown in breakdowns.items():
        scores[split]["boundary_iou"] = border_iou(breakdown.borders)
        scores[split]["calibration_error"] = calibration_error(breakdown.calibration)


def _add_fresh(scores: dict[str, Any], counts: Mapping[str, np.ndarray]) -> None:
    """Add the scores of the fresh scenes and their gap, without a loss, which pixel counts do not give."""
    scores["fresh"] = scores_of(np.sum(list(counts.values()), 0))
    scores["gap"]["fresh"] = gaps({name: scores["train"][name] for name in scores["fresh"]}, scores["fresh"])


def _scene_rows(counts: Mapping[str, Mapping[str, np.ndarray]], classes: Sequence[str]) -> list[dict[str, object]]:
    """Return the rows of scenes.csv: pixels for each split, scene, true class and predicted class."""
    return [
        {"split": split, "scene": scene, "truth": truth, "predicted": predicted, "pixels": int(confusion[i, j])}
        for split, scenes in counts.items()
        for scene, confusion in scenes.items()
        for i, truth in enumerate(classes)
        for j, predicted in enumerate(classes)
    ]


def _calibration_rows(breakdowns: Mapping[str, Breakdown]) -> list[dict[str, object]]:
    """Return the rows of calibration.csv: what each split has in each bin of confidence."""
    return [
        {"split": split, "bin": i, "pixels": int(pixels), "confidence": confidence, "right": int(right)}
        for split, breakdown in breakdowns.items()
        for i, (pixels, confidence, right) in enumerate(breakdown.calibration.tolist())
    ]


def _finite(value: Any) -> Any:
    """Return nested numbers with None, JSON's null, for infinity and NaN, as the loss of a diverged run may be."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def run(tiles: Path, run: Path, config: Evaluate) -> None:
    """Measure a run and write the results into its folder.

    metrics.json has how the training ended, the scores and gaps of the epoch whose weights are kept, and, under `best`,
    those of the best epoch. The other files are about the kept weights: scenes.csv and calibration.csv for all splits,
    and predictions.npz with the predicted classes of the test tiles. If scenes were drawn, metrics.json and scenes.csv
    also cover the fresh ones.

    Args:
        tiles: The folder of packed tiles.
        run: The folder of a run whose training has ended.
        config: The section evaluate of params.yaml.
    """
    trained: Any = SimpleNamespace(**read_json(run / "config.json"))
    history = read_rows(run / "history.csv")
    best = best_epoch(history)
    kept = best if trained.keep == "best" else len(history)
    device = prepare(config.device, trained.threads)
    packed = load(tiles, trained.fold, trained.split_by)
    fresh = load_fresh(tiles / FRESH, packed)
    net = build(trained, packed).to(device)
    load_weights(net, run / "best.safetensors")
    best_scores = _measure_splits(net, packed, trained, device, {}) if best != kept else None
    load_weights(net, run / "weights.safetensors")
    breakdowns = {split: Breakdown(packed) for split in _splits_of(packed, trained)}
    scores = _measure_splits(net, packed, trained, device, breakdowns)
    best_scores = best_scores or copy.deepcopy(scores)  # One epoch has one set of scores.
    _add_breakdowns(scores, breakdowns)
    counts = {split: breakdown.scenes for split, breakdown in breakdowns.items()}
    if len(fresh.masks):
        counts["fresh"] = by_scene(net, fresh, fresh.indices("fresh"), device, trained.precision)
        _add_fresh(scores, counts["fresh"])
    write_rows(run / "scenes.csv", _scene_rows(counts, packed.classes))
    write_rows(run / "calibration.csv", _calibration_rows(breakdowns))
    with replacing(run / "predictions.npz") as draft, draft.open("wb") as file:
        np.savez_compressed(file, tiles=packed.indices("test"), classes=breakdowns["test"].predicted)
    ended = {"status": read_json(run / "status.json")["status"], "epoch": kept}
    write_json(run / "metrics.json", _finite({**ended, **scores, "best": {"epoch": best, **best_scores}}))
