"""Turn results into entries: what MLflow is told of runs, of their ablation, and of trainings under way."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from fieldgap.analysis.runs import FILES, EvaluatedRun, flatten
from fieldgap.base.environment import commit
from fieldgap.base.errors import InputError
from fieldgap.base.files import read_json
from fieldgap.base.names import REPORTED
from fieldgap.tiles.packed import digest_of, read_packed
from fieldgap.tracking.datasets import dataset_settings, datasets
from fieldgap.tracking.outbox import Entry
from fieldgap.tracking.shipped import model_of
from fieldgap.tracking.unfit import Key

if TYPE_CHECKING:
    from fieldgap.tracking.spools import Spool

SUMMARY_LIMIT = 6000  # Characters. MLflow accepts 8000 in a tag, which also holds the champion and a link.
UNUSED = "none"  # The value of an option in runs that do not use it. Grouping by it then drops no run.


def flat_params(config: Mapping[str, Any]) -> dict[str, str]:
    """Return a configuration as MLflow parameters: options.SGD.momentum becomes options_SGD_momentum.

    Values are written as in params.yaml, so that equal values are equal text in every run.
    """
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in flatten(config)}


def final_metrics(metrics: Mapping[str, Any]) -> dict[str, tuple[float, int]]:
    """Return value and epoch of each metric of a whole split, named final_ or best_.

    The history's columns keep their bare names: its train_ columns are measured on a subset, so they differ.
    """
    finals = {}
    for name, value in metrics.items():
        best = name.startswith("best_")
        if isinstance(value, int | float) and math.isfinite(value):
            epoch = metrics["best_epoch" if best else "epoch"]
            finals[name if best else f"final_{name}"] = (float(value), int(epoch))
    return finals


def best_run(runs: Sequence[EvaluatedRun]) -> str:
    """Return the name of the best run of the best variant by validation IoU at the last epoch, or "" if there is none.

    A variant's score is its mean over seeds. Variants of which a run diverged, or has no IoU, come after all others.
    """
    variants: dict[str, list[EvaluatedRun]] = {}
    for run in runs:
        variants.setdefault(run.variant, []).append(run)

    def measured(run: EvaluatedRun) -> bool:
        return run.finished and math.isfinite(run.metrics["val_iou"])

    def score(group: list[EvaluatedRun]) -> tuple[bool, float]:
        values = [float(run.metrics["val_iou"]) for run in group if measured(run)]
        return len(values) == len(group), sum(values) / max(len(values), 1)

    best = [run for run in max(variants.values(), key=score) if measured(run)]
    return max(best, key=lambda run: float(run.metrics["val_iou"])).name if best else ""


class Training(TypedDict):
    """What status.json tells MLflow of a training: its key, why it diverged, and the versions of its packages."""

    key: Key
    reason: str
    packages: dict[str, str]


@functools.cache
def _adapter() -> TypeAdapter[Training]:
    return TypeAdapter(Training)


def read_status(run: EvaluatedRun) -> Training:
    """Return a run's status.json. Raises InputError when it is missing or broken."""
    path = run.folder / "status.json"
    try:
        return _adapter().validate_python(read_json(path))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise InputError(f"{path}: {where}: {fault['msg']}; train {run.name} again") from None


def run_entry(run: EvaluatedRun, spool: Spool | None, now: int) -> Entry:
    """Return the entry of an evaluated run.

    Its times are those of its spool. Without one they are `now`, in milliseconds since 1970.
    """
    status = read_status(run)
    times = {int(row["epoch"]): int(row["time"]) for row in spool.rows} if spool else {}
    rows = [
        {**{str(name): float(value) for name, value in row.items()}, "time": times.get(int(row["epoch"]), now)}
        for row in run.history.to_dict("records")
    ]
    finals = final_metrics(run.metrics)
    shown = [f"{name} {finals[name][0]:.4f}" for name in ("final_val_iou", "final_gap_val_iou") if name in finals]
    packages = ", ".join(f"{name} {version}" for name, version in status["packages"].items())
    reason = f" ({status['reason']})" if status["reason"] else ""
    return Entry(
        key=status["key"],
        name=run.name,
        kind="run",
        status="diverged" if run.status == "diverged" else "finished",
        complete=True,
        restored=spool is None,
        started=spool.started if spool else now,
        ended=spool.ended if spool else now,
        note=f"{run.variant}: {run.status}{reason}. {', '.join(shown) or 'No IoU'}.",
        tags={"variant": run.variant, "seed": str(run.config["seed"]), "packages": packages},
        params=flat_params(run.config),
        rows=rows,
        finals=finals,
        files={str(run.folder / name): "" for name in FILES},
    )


def spool_entry(spool: Spool) -> Entry:
    """Return the entry of a training that is under way, was killed, or waits for its evaluation."""
    return Entry(
        key=spool.key,
        name=spool.run,
        kind="run",
        status=spool.status,
        complete=False,
        started=spool.started,
        ended=spool.ended,
        tags={"seed": str(spool.config.get("seed", "")), **({"current": "true"} if spool.status == "running" else {})},
        params=flat_params(spool.config),
        rows=spool.rows,
    )


def ablation_entry(runs: Sequence[Entry], axes: Sequence[str], reports: Path, best: str) -> Entry:
    """Return the entry of the ablation that consists of these runs, with the files of its report."""
    files = [path for name in sorted(REPORTED) if (path := reports / name).is_file()]
    seen = [run for run in runs if not run.restored] or runs
    summary = (reports / "summary.md").read_text(encoding="utf-8")[:SUMMARY_LIMIT]
    return Entry(
        key=hashlib.sha256(" ".join(run.key for run in runs).encode()).hexdigest(),
        name=" x ".join(axes),
        kind="ablation",
        status="finished",
        complete=True,
        started=min(run.started for run in seen),
        ended=max(run.ended for run in seen),
        note=f"{summary}\n\nBest run of the best variant by validation IoU: {best or 'none'}.",
        tags={},
        params=_listed_params(runs),
        inputs=list({data["digest"]: data for run in runs for data in run.inputs}.values()),
        files={str(path): path.parent.relative_to(reports).as_posix().strip(".") for path in files},
    )


def _listed_params(runs: Sequence[Entry]) -> dict[str, str]:
    # The UI adds the ablation to whatever runs are filtered. A list of their values makes it a group of its own there.
    values = {name: list(dict.fromkeys(run.params[name] for run in runs)) for name in runs[0].params}
    return {name: levels[0] if len(levels) == 1 else f"[{', '.join(levels)}]" for name, levels in values.items()}


def grid_entries(
    runs: Sequence[EvaluatedRun], spools: Mapping[str, Spool], tiles: Path, reports: Path, now: int
) -> list[Entry]:
    """Return the entry of the ablation, and after it those of its runs.

    `spools` holds those of trainings on this machine by key, and `now` is in milliseconds since 1970.
    """
    children = [run_entry(run, spools.get(read_status(run)["key"]), now) for run in runs]
    unused = {name: UNUSED for child in children for name in child.params}
    digest, best, packed = digest_of(tiles), best_run(runs), read_packed(tiles)
    tags = {"data_digest": digest[:16], "code_version": commit(), "current": "true"}
    settings = {dataset_settings(run.config) for run in runs}
    inputs = {each: datasets(tiles, digest, *each) for each in settings}  # Once for all runs that share them.
    children = [
        dataclasses.replace(
            child,
            model=model_of(run.config["model"], packed.masks.shape[1], packed.classes) if child.name == best else None,
            params={**unused, **child.params},
            tags={**child.tags, **tags},
            inputs=inputs[dataset_settings(run.config)],
        )
        for child, run in zip(children, runs, strict=True)
    ]
    parent = ablation_entry(children, list(runs[0].axes), reports, best)
    return [
        dataclasses.replace(parent, tags=tags),
        *(dataclasses.replace(child, parent=parent.key) for child in children),
    ]
