"""Results to parcels: what MLflow is to know of the runs of a grid, of their ablation, and of trainings under way."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldgap.analysis.runs import FILES, EvaluatedRun, flatten
from fieldgap.base.environment import commit
from fieldgap.base.files import read_json
from fieldgap.tiles.packed import digest_of
from fieldgap.tracking.datasets import datasets, dealt_by
from fieldgap.tracking.outbox import Parcel

if TYPE_CHECKING:
    from fieldgap.tracking.spools import Spooled

NOTE = 6000  # Characters; MLflow takes 8000 in a tag, of which the link to the report needs some.
NONE = "none"  # The value of an option in runs that have no use for it, so that grouping by it drops no run.


def spelt(value: object) -> str:
    """-> a parameter as params.yaml spells it, so that equal values are equal text in every run."""
    return value if isinstance(value, str) else json.dumps(value)


def params_of(config: Mapping[str, Any]) -> dict[str, str]:
    """-> a run's parameters, flat: options.SGD.momentum is options_SGD_momentum."""
    return {name: spelt(value) for name, value in flatten(config)}


def finals_of(metrics: Mapping[str, Any]) -> dict[str, tuple[float, int]]:
    """-> the metrics of whole splits with their epoch, named final_ or best_.

    The history's columns are named without: its train_ columns are measured on a subset, so they differ.
    """
    finals = {}
    for name, value in metrics.items():
        best = name.startswith("best_")
        if isinstance(value, int | float) and math.isfinite(value):
            epoch = metrics["best_epoch" if best else "epoch"]
            finals[name if best else f"final_{name}"] = (float(value), int(epoch))
    return finals


def model_of(tiles: Path) -> dict[str, Any]:
    """-> what a model needs to know of its tiles besides its weights: their size in pixels, and the classes' names."""
    report = read_json(tiles / "mask_report.json")
    size = np.load(tiles / "masks.npy", mmap_mode="r", allow_pickle=False).shape[1]
    return {"tile": size, "classes": list(report["classes"])}


def best_run(runs: Sequence[EvaluatedRun]) -> str:
    """-> the name of the best variant's best run, by validation IoU at the last epoch; "" when none finished.

    A variant's score is its mean over seeds, and one that diverged for any seed comes after all that did not.
    """
    variants: dict[str, list[EvaluatedRun]] = {}
    for run in runs:
        variants.setdefault(run.variant, []).append(run)

    def score(group: list[EvaluatedRun]) -> tuple[bool, float]:
        values = [float(run.metrics["val_iou"]) for run in group]
        return all(run.finished for run in group), sum(values) / len(values)

    group = max(variants.values(), key=score)
    able = [run for run in group if run.finished]
    return max(able, key=lambda run: float(run.metrics["val_iou"])).name if able else ""


def status_of(run: EvaluatedRun) -> dict[str, Any]:
    """-> a run's status.json. Raises InputError when it is missing or broken."""
    return read_json(run.folder / "status.json")


def of_run(run: EvaluatedRun, spooled: Spooled | None, now: int) -> Parcel:
    """-> a finished run, its epochs at the times at which its training spooled them; `now` where it left no spool."""
    status = status_of(run)
    times = {int(row["epoch"]): int(row["time"]) for row in spooled.rows} if spooled else {}
    rows = [
        {**{str(name): float(value) for name, value in row.items()}, "time": times.get(int(row["epoch"]), now)}
        for row in run.history.to_dict("records")
    ]
    finals = finals_of(run.metrics)
    shown = ", ".join(f"{name} {finals[name][0]:.4f}" for name in ("final_val_iou", "final_gap_val_iou"))
    packages = ", ".join(f"{name} {version}" for name, version in status["packages"].items())
    reason = f" ({status['reason']})" if status["reason"] else ""
    return Parcel(
        key=status["key"],
        name=run.name,
        kind="run",
        parent="",
        status=run.status,
        whole=True,
        restored=spooled is None,
        started=spooled.started if spooled else now,
        ended=spooled.ended if spooled else now,
        note=f"{run.variant}: {run.status}{reason}. {shown}.",
        tags={"variant": run.variant, "seed": str(run.config["seed"]), "packages": packages},
        params=params_of(run.config),
        rows=rows,
        finals=finals,
        inputs=[],
        files={str(run.folder / name): "" for name in FILES},
        model={},
    )


def params_of_all(runs: Sequence[Parcel]) -> dict[str, str]:
    """-> for each parameter the value that all runs share, or their values as params.yaml lists them.

    With these an ablation is a group of its own beside those of its runs: the UI adds parents to whatever is filtered.
    """
    values = {name: list(dict.fromkeys(run.params[name] for run in runs)) for name in runs[0].params}
    return {name: each[0] if len(each) == 1 else f"[{', '.join(each)}]" for name, each in values.items()}


def of_ablation(runs: Sequence[Parcel], axes: Sequence[str], reports: Path, out: Path, best: str) -> Parcel:
    """-> the parent of `runs`: the same runs are the same ablation. It holds the report's files, `out` aside."""
    files = [path for path in sorted(reports.rglob("*")) if path.is_file() and path != out]
    told = (reports / "summary.md").read_text(encoding="utf-8")
    return Parcel(
        key=hashlib.sha256(" ".join(run.key for run in runs).encode()).hexdigest(),
        name=" x ".join(axes),
        kind="ablation",
        parent="",
        status="finished",
        whole=True,
        restored=False,
        started=min(run.started for run in runs),
        ended=max(run.ended for run in runs),
        note=f"{told[:NOTE]}\n\nThe best variant's best run by validation: {best or NONE}.",
        tags={},
        params=params_of_all(runs),
        rows=[],
        finals={},
        inputs=list({each["digest"]: each for run in runs for each in run.inputs}.values()),
        files={str(path): path.parent.relative_to(reports).as_posix().strip(".") for path in files},
        model={},
    )


def made_of(
    runs: Sequence[EvaluatedRun], spools: Mapping[str, Spooled], tiles: Path, reports: Path, out: Path, now: int
) -> list[Parcel]:
    """-> the ablation and then its runs, all that MLflow is to know of a grid."""
    children = [of_run(run, spools.get(status_of(run)["key"]), now) for run in runs]
    names = {name: NONE for child in children for name in child.params}
    whole, best, model = digest_of(tiles), best_run(runs), model_of(tiles)
    tags = {"data_digest": whole[:16], "code_version": commit(), "current": "true"}
    dealt = {dealt_by(run.config): run.config for run in runs}
    inputs = {by: datasets(tiles, whole, config) for by, config in dealt.items()}  # Once for all runs that share them.
    children = [
        dataclasses.replace(
            child,
            model=model if child.name == best else {},
            params={**names, **child.params},
            tags={**child.tags, **tags},
            inputs=inputs[dealt_by(run.config)],
        )
        for child, run in zip(children, runs, strict=True)
    ]
    parent = of_ablation(children, list(runs[0].axes), reports, out, best)
    return [
        dataclasses.replace(parent, tags=tags),
        *(dataclasses.replace(child, parent=parent.key) for child in children),
    ]


def of_spool(spooled: Spooled) -> Parcel:
    """-> a training as far as its spool tells: under way, killed, or waiting to be evaluated."""
    return Parcel(
        key=spooled.key,
        name=spooled.run,
        kind="run",
        parent="",
        status=spooled.status,
        whole=False,
        restored=False,
        started=spooled.started,
        ended=spooled.ended,
        note="",
        tags={"seed": str(spooled.config["seed"]), **({"current": "true"} if spooled.status == "running" else {})},
        params=params_of(spooled.config),
        rows=spooled.rows,
        finals={},
        inputs=[],
        files={},
        model={},
    )
