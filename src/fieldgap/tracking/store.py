"""One experiment of an MLflow store. With tracking_model.py the only file that imports mlflow."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # By default four minutes pass before it gives up.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

from mlflow import MlflowClient, MlflowException
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    from fieldgap.tracking.outbox import Parcel

KEY, DELIVERED = "fieldgap.key", "fieldgap.delivered"
BATCH = 1000  # MLflow's own limit of metrics in one call; of parameters and tags it is a tenth.
# A training that diverged is no failure of the program, but red is what to see of it.
STATUS = {"finished": "FINISHED", "diverged": "FAILED", "killed": "KILLED", "running": "RUNNING", "left": "SCHEDULED"}
USUAL = {"file": 2.0, "server": 0.5}  # Seconds for an answer; what answers take longer counts against wait_seconds.

P = ParamSpec("P")
T = TypeVar("T")


def epochs(rows: Sequence[dict[str, float]]) -> list[Metric]:
    """-> each column at its epoch and time."""
    return [
        Metric(name, value, int(row["time"]), int(row["epoch"]))
        for row in rows
        for name, value in row.items()
        if name not in ("epoch", "time")
    ]


class Store:
    """An experiment of a store, found by its name or made. Every question to the store goes through ask()."""

    def __init__(self, uri: str, experiment: str) -> None:
        for noisy in ("alembic", "mlflow"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        self.uri, self.name = uri, experiment
        self.file = Path(f"{uri.removeprefix('sqlite:///')}.lock") if uri.startswith("sqlite:///") else None
        self.usual = USUAL["file" if self.file else "server"]
        self.late, self.asked = 0.0, math.inf
        self.ids: dict[str, str] = {}  # Of runs by key, as far as parcels were put.

    def open(self) -> None:
        with self.alone():  # A fresh SQLite store that several processes initialise at once breaks.
            self.client = MlflowClient(tracking_uri=self.uri)
            self.experiment = self.found() or self.made()

    def ask(self, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.asked = time.monotonic()
        try:
            return question(*args, **kwargs)
        finally:
            self.late, self.asked = self.excess(), math.inf

    def excess(self) -> float:
        """-> the seconds by which answers, the one awaited included, have taken longer than is usual."""
        return self.late + max(0.0, time.monotonic() - self.asked - self.usual)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Holds a SQLite store for one process of ours at a time, which its own locks do badly; servers need none."""
        if self.file is None:
            yield
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("w") as file:
            while True:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(0.02)
            yield

    def found(self) -> str:
        known = self.ask(self.client.get_experiment_by_name, self.name)
        return known.experiment_id if known else ""

    def made(self) -> str:
        """-> a new experiment, or the one that another process made in between."""
        try:
            return self.ask(self.client.create_experiment, self.name)
        except MlflowException:
            if known := self.found():
                return known
            raise

    def search(self, wanted: str) -> list[Run]:
        """-> all runs that a filter finds, the earliest first."""
        found: list[Run] = []
        token = None
        while True:
            page = self.ask(self.client.search_runs, [self.experiment], wanted, max_results=1000, page_token=token)
            found += page
            if not (token := page.token):
                break
        return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))

    def find(self, key: str) -> Run | None:
        """-> the run of a key. Two machines may have made it at once: the earliest counts, the others are deleted."""
        same = self.search(f"tags.`{KEY}` = '{key}'")
        for other in same[1:]:
            self.ask(self.client.delete_run, other.info.run_id)
        return same[0] if same else None

    def find_or_make(self, parcel: Parcel) -> Run:
        """-> the one run of a parcel's key. MLflow has no such call: look, make, and on a server look again."""
        if run := self.find(parcel.key):
            return run
        tags = {KEY: parcel.key, "kind": parcel.kind, "restored": spelt(parcel.restored)}
        made = self.ask(
            self.client.create_run, self.experiment, start_time=parcel.started, tags=tags, run_name=parcel.name
        )
        if run := made if self.file else self.find(parcel.key):
            return run
        raise MlflowException("does not find the run that it has just made")

    def told_otherwise(self, run: Run, parcel: Parcel) -> bool:
        """-> whether the run holds other epochs than the parcel: a second training that came out differently."""
        known = self.series(run)
        return any(known.get(int(row["epoch"]), row["running_loss"]) != row["running_loss"] for row in parcel.rows)

    def series(self, run: Run) -> dict[int, float]:
        """-> the running loss by epoch; an epoch's columns come in one batch, so where it is the others are."""
        if "running_loss" not in run.data.metrics:
            return {}
        told = self.ask(self.client.get_metric_history, run.info.run_id, "running_loss")
        return {metric.step: metric.value for metric in told}

    def put(self, parcel: Parcel) -> str:
        """Brings over what the store lacks of a parcel; the mark that it is delivered comes last. -> the run's id."""
        with self.alone():
            run = self.find_or_make(parcel)
            if not parcel.whole and DELIVERED in run.data.tags:
                return run.info.run_id  # Its results are there; a second training of the same adds nothing.
            if parcel.whole and self.told_otherwise(run, parcel):
                self.ask(self.client.delete_run, run.info.run_id)
                run = self.find_or_make(parcel)
            self.ids[parcel.key] = run.info.run_id
            digest = parcel.digest() if parcel.whole else ""
            delivered = bool(digest) and run.data.tags.get(DELIVERED) == digest
            metrics, params = ([], []) if delivered else self.numbers(run, parcel)
            self.log(run, metrics, params, self.tags(run, parcel))
            if parcel.whole and not delivered:
                self.log_inputs(run, parcel)
                for path, folder in parcel.files.items():
                    self.ask(self.client.log_artifact, run.info.run_id, path, folder or None)
                self.close(run, parcel)
                self.ask(self.client.set_tag, run.info.run_id, DELIVERED, digest)
            elif not parcel.whole:
                self.close(run, parcel)
            return run.info.run_id

    def log(self, run: Run, metrics: list[Metric], params: list[Param], tags: list[RunTag]) -> None:
        """Logs in as few calls as MLflow's limits allow: each is a transaction, which costs more than what it holds."""
        few = BATCH // 10
        while metrics or params or tags:
            room = BATCH - len(params[:few]) - len(tags[:few])
            self.ask(self.client.log_batch, run.info.run_id, metrics[:room], params[:few], tags[:few])
            metrics, params, tags = metrics[room:], params[few:], tags[few:]

    def numbers(self, run: Run, parcel: Parcel) -> tuple[list[Metric], list[Param]]:
        """-> epochs, finals and parameters that the run does not hold yet."""
        known = self.series(run)
        metrics = epochs([row for row in parcel.rows if int(row["epoch"]) not in known])
        metrics += [
            Metric(name, value, parcel.ended, epoch)
            for name, (value, epoch) in parcel.finals.items()
            if run.data.metrics.get(name) != value
        ]
        return metrics, [Param(name, value) for name, value in parcel.params.items() if name not in run.data.params]

    def id_of(self, key: str) -> str:
        """-> the id of the run of a key, "" where the store has none."""
        if key not in self.ids and (run := self.find(key)):
            self.ids[key] = run.info.run_id
        return self.ids.get(key, "")

    def tags(self, run: Run, parcel: Parcel) -> list[RunTag]:
        """-> the tags that the run does not hold yet: its own, its status, its place below its ablation, its note."""
        tags = {"status": parcel.status, **parcel.tags}
        if parcel.parent and (parent := self.id_of(parcel.parent)):
            tags["mlflow.parentRunId"] = parent
        if parcel.note:
            ablation = tags.get("mlflow.parentRunId", run.info.run_id)
            page = f"#/experiments/{self.experiment}/runs/{ablation}/artifacts/index.html"
            tags["mlflow.note.content"] = f"{parcel.note}\n\n[The report]({page})"
        return [RunTag(name, value) for name, value in tags.items() if value and run.data.tags.get(name) != value]

    def log_inputs(self, run: Run, parcel: Parcel) -> None:
        known = {each.dataset.digest for each in run.inputs.dataset_inputs} if run.inputs else set()
        inputs = [
            DatasetInput(
                Dataset(
                    name=each["name"],
                    digest=each["digest"],
                    source_type="local",
                    source=json.dumps({"uri": each["source"]}),
                    profile=each["profile"],
                ),
                [InputTag("mlflow.data.context", each["context"])],
            )
            for each in parcel.inputs
            if each["digest"] not in known
        ]
        if inputs:
            self.ask(self.client.log_inputs, run.info.run_id, inputs)

    def close(self, run: Run, parcel: Parcel) -> None:
        """Gives the run the status of its training; what runs has no end."""
        status = STATUS[parcel.status]
        if status in ("RUNNING", "SCHEDULED"):
            if run.info.status != status:
                self.ask(self.client.update_run, run.info.run_id, status=status)
        else:
            self.ask(self.client.set_terminated, run.info.run_id, status, parcel.ended)

    def only_current(self, keys: set[str]) -> None:
        """Tags all other runs of the experiment as past."""
        for run in self.search("tags.current = 'true'"):
            if run.data.tags.get(KEY) not in keys:
                self.ask(self.client.set_tag, run.info.run_id, "current", "false")


def spelt(truth: bool) -> str:
    return "true" if truth else "false"


def system_metrics(run: str, uri: str) -> SystemMetricsMonitor:
    """-> what samples this machine into a run until it is finished; started, after its last sample."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run, resume_logging=True, tracking_uri=uri)
    monitor.start()
    return monitor
