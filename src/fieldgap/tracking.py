"""Stage record: the runs of a grid mirrored into MLflow. The only module that imports it; no stage reads it back."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient, MlflowException
from mlflow.entities import Metric, Param

from fieldgap.compare import variant_of
from fieldgap.errors import InputError
from fieldgap.files import write_rows
from fieldgap.runs import FILES, Finished, leaves, read_runs

if TYPE_CHECKING:
    from fieldgap.settings import Record

KEY = "fieldgap.key"
BATCH = 1000  # MLflow's own limit of metrics in one call.


def digest(files: Sequence[Path]) -> str:
    """-> a key of the files' names and contents: the same results are the same MLflow run."""
    whole = hashlib.sha256()
    for path in files:
        whole.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def run_metrics(run: Finished, now: int) -> list[Metric]:
    """-> each column of the history at its epoch; then the metrics of whole splits, at their epoch.

    The latter are named final_ or best_: the history's train_ columns are measured on a subset, so they differ.
    """
    series = [
        Metric(name, float(value), now, int(row["epoch"]))
        for row in run.history.to_dict("records")
        for name, value in row.items()
        if isinstance(name, str) and name != "epoch"
    ]
    for name, value in run.metrics.items():
        best = name.startswith("best_")
        epoch = run.metrics["best_epoch" if best else "epoch"]
        series.append(Metric(name if best else f"final_{name}", float(value), now, int(epoch)))
    return series


class Store:
    """One experiment of an MLflow store."""

    def __init__(self, uri: str, experiment: str) -> None:
        for noisy in ("alembic", "mlflow"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self.client = MlflowClient(tracking_uri=uri)
        found = self.client.get_experiment_by_name(experiment)
        self.experiment = found.experiment_id if found else self.client.create_experiment(experiment)

    def find(self, key: str) -> str | None:
        """-> the id of the finished MLflow run with that key."""
        wanted = f"tags.`{KEY}` = '{key}' and attributes.status = 'FINISHED'"
        found = self.client.search_runs([self.experiment], wanted, max_results=1)
        return found[0].info.run_id if found else None

    def add(
        self,
        name: str,
        key: str,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        metrics: Sequence[Metric],
        artifacts: Sequence[tuple[Path, str]],
    ) -> str:
        """-> the id of a new finished MLflow run; what fails midway stays out of sight of find()."""
        run = self.client.create_run(self.experiment, run_name=name, tags={KEY: key, **tags}).info.run_id
        self.client.log_batch(run, params=[Param(name, str(value)) for name, value in params.items()])
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(run, metrics=metrics[start : start + BATCH])
        for path, folder in artifacts:
            self.client.log_artifact(run, str(path), folder or None)
        self.client.set_terminated(run)
        return run


def record_ablation(
    store: Store, runs: Sequence[Finished], keys: Sequence[str], reports: Path, files: list[Path]
) -> str:
    """-> the id of the parent run of an ablation, which holds the files of the report."""
    key = hashlib.sha256(f"{digest(files)} {' '.join(keys)}".encode()).hexdigest()
    name = " x ".join(runs[0].axes)
    artifacts = [(path, path.parent.relative_to(reports).as_posix().strip(".")) for path in files]
    return store.find(key) or store.add(name, key, {"fieldgap.kind": "ablation"}, {}, [], artifacts)


def record_run(store: Store, run: Finished, key: str, parent: str) -> None:
    """Adds a run below its ablation, or moves it there when it was recorded before."""
    if found := store.find(key):
        store.client.set_tag(found, "mlflow.parentRunId", parent)
        return
    tags = {"fieldgap.kind": "run", "variant": variant_of(run.axes), "mlflow.parentRunId": parent}
    metrics = run_metrics(run, int(time.time() * 1000))
    store.add(run.name, key, tags, dict(leaves(run.config)), metrics, [(run.folder / name, "") for name in FILES])


def run(runs: Path, reports: Path, out: Path, grid: Mapping[str, dict[str, Any]], config: Record) -> None:
    """Brings each run of the grid and the ablation into MLflow, once, and lists their keys in the file `out`."""
    finished = read_runs(runs, grid)
    files = [path for path in sorted(reports.rglob("*")) if path.is_file() and path != out]
    keys = [digest([run.folder / name for name in FILES]) for run in finished]
    try:
        store = Store(config.store, config.experiment)
        parent = record_ablation(store, finished, keys, reports, files)
        for run, key in zip(finished, keys, strict=True):
            record_run(store, run, key, parent)
    except (MlflowException, OSError) as error:
        raise InputError(
            f"record.store: {config.store} takes no records ({error}); start it or change the key"
        ) from None
    write_rows(out, ({"run": run.name, "key": key} for run, key in zip(finished, keys, strict=True)))
