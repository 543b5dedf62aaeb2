"""One experiment of an MLflow store, and the one MLflow run that belongs to each key."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from fieldgap.base import locks, names
from fieldgap.tracking import sqlite
from fieldgap.tracking.client import mlflow

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import RegisteredModel

    from fieldgap.tracking.outbox import Entry

KEY = "fieldgap.key"  # The tag by which a run is found.
MODEL_LENGTH = 200  # Characters. MLflow's column has room for 256.
NAME_LENGTH = 250  # Of a run, by MLflow's column.
USUAL_SECONDS = {"file": 2.0, "server": 0.5}  # For one answer. What exceeds it counts against wait_seconds.

P = ParamSpec("P")
T = TypeVar("T")


class Store:
    """An experiment of a store. Call `open` first."""

    def __init__(self, uri: str, experiment: str) -> None:
        for name in ("alembic", "mlflow"):  # What goes wrong is raised, too. They would log it with its traceback.
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.file = names.store_file(uri)
        self.uri = uri if self.file is None or names.project() == Path() else f"sqlite:///{self.file}"
        self.name = experiment
        self.usual_seconds = USUAL_SECONDS["file" if self.file else "server"]
        self.late_seconds, self.asked_at = 0.0, math.inf
        self.deleted = False  # Whether the experiment is, in which case MLflow creates no runs in it.
        self.run_ids: dict[str, str] = {}  # By key, as far as they are known.

    def open(self) -> None:
        """Connect, and create the store and the experiment if they are missing."""
        with self.alone():  # A fresh SQLite store breaks when several processes initialise it at once.
            if self.file:
                sqlite.prepare(self.file)  # However long it takes: given up, it would begin anew each time.
            self.client = mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            self.experiment = self._find_experiment() or self._create_experiment()
            if not self.experiment:
                raise mlflow.MlflowException("its answers are not those of MLflow")
            if self.file:
                sqlite.follow(self.file, self.experiment)

    def ask(self, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of the client and return its answer. The time is added to `delay`."""
        self.asked_at = time.monotonic()
        try:
            return question(*args, **kwargs)
        finally:
            self.late_seconds, self.asked_at = self.delay(), math.inf

    def delay(self) -> float:
        """Return by how many seconds all answers, the one that is due included, exceed the usual time."""
        return self.late_seconds + max(0.0, time.monotonic() - self.asked_at - self.usual_seconds)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes of this program out of a SQLite store within the block. A server needs no such help."""
        lock = locks.take(self.file.with_name(f"{self.file.name}.lock"), seconds=-1) if self.file else None
        try:
            yield
        finally:
            if lock:
                lock.release()

    def _find_experiment(self) -> str:
        known = self.ask(self.client.get_experiment_by_name, self.name)
        self.deleted = bool(known and known.lifecycle_stage == "deleted")
        return known.experiment_id if known else ""

    def _create_experiment(self) -> str:
        try:
            return self.ask(self.client.create_experiment, self.name)
        except mlflow.MlflowException:
            if known := self._find_experiment():  # Another process created it in between.
                return known
            raise

    @property
    def model(self) -> str:
        """The name of the registered model: that of the experiment, if every filter, path and URI can hold it.

        Otherwise it has - in place of other characters, and a digest, which keeps it apart from similar names.
        """
        words = re.sub(r"[^\w .-]+", "-", self.name).strip(" .-")
        if words == self.name and len(words) <= MODEL_LENGTH:
            return words
        digest = hashlib.sha256(self.name.encode()).hexdigest()[:8]
        return f"{words[: MODEL_LENGTH - 9]}-{digest}".lstrip("-")

    def registered_model(self) -> RegisteredModel:
        """Return the registered model of the experiment, and create it if it is missing."""
        with contextlib.suppress(mlflow.MlflowException):
            return self.ask(self.client.get_registered_model, self.model)
        with contextlib.suppress(mlflow.MlflowException):
            return self.ask(self.client.create_registered_model, self.model)
        return self.ask(self.client.get_registered_model, self.model)  # Another process created it in between.

    def search(self, condition: str) -> list[Run]:
        """Return all runs that match a filter, in order of their start."""
        runs: list[Run] = []
        token = None
        while True:
            page = self.ask(self.client.search_runs, [self.experiment], condition, max_results=1000, page_token=token)
            runs += page
            if not (token := page.token):
                break
        return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))

    def find(self, key: str) -> Run | None:
        """Return the run that belongs to a key.

        Two machines may have created one each at the same time. The earlier one counts, the other is deleted.
        """
        same = self.search(f"tags.`{KEY}` = '{key}'")
        for other in same[1:]:
            self.ask(self.client.delete_run, other.info.run_id)
        return same[0] if same else None

    def find_or_create(self, entry: Entry) -> Run:
        """Return the one run that belongs to the entry's key.

        MLflow has no such call. A server cannot be locked either, so there the run is looked up again once created.
        """
        if run := self.find(entry.key):
            return run
        if self.deleted:
            raise mlflow.MlflowException(
                f"its experiment {self.name} is deleted; restore it with mlflow experiments restore -x "
                f"{self.experiment}, or choose another record.experiment"
            )
        tags = {KEY: entry.key, "kind": entry.kind, "restored": json.dumps(entry.restored)}
        created = self.ask(
            self.client.create_run,
            self.experiment,
            start_time=entry.started,
            tags=tags,
            run_name=entry.name[:NAME_LENGTH],
        )
        if run := created if self.file else self.find(entry.key):
            return run
        raise mlflow.MlflowException("the run that was just created cannot be found")

    def run_id(self, key: str) -> str:
        """Return the id of the run that belongs to a key, or "" when the store has none."""
        if key not in self.run_ids and (run := self.find(key)):
            self.run_ids[key] = run.info.run_id
        return self.run_ids.get(key, "")
