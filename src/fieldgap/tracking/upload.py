"""Entries into a store: send what the MLflow run of an entry does not have yet."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Set
from typing import TYPE_CHECKING

from fieldgap.tracking.client import mlflow
from fieldgap.tracking.store import KEY, Store

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric, Param, Run, RunTag

    from fieldgap.tracking.outbox import Entry

DELIVERED = "fieldgap.delivered"  # The tag with the digest of an entry that arrived in full.
BATCH = 1000  # MLflow's limit of metrics per call. Of parameters and of tags it accepts a tenth as many.
# A diverged run is no failure of the program. It is FAILED because the UI shows that in red.
STATUS = {"finished": "FINISHED", "diverged": "FAILED", "killed": "KILLED", "running": "RUNNING", "left": "SCHEDULED"}


def put(store: Store, entry: Entry) -> Run:
    """Send what the store lacks of an entry, and return the entry's run.

    The tag that says it arrived is sent last, so that the next delivery completes one that was interrupted.
    """
    with store.alone():
        run = store.find_or_create(entry)
        if not entry.complete and DELIVERED in run.data.tags:
            return run  # The results are there. Training the same again adds nothing.
        logged = _logged_epochs(store, run)
        if entry.complete and _contradict(logged, entry):
            store.ask(store.client.delete_run, run.info.run_id)
            run, logged = store.find_or_create(entry), {}
        store.run_ids[entry.key] = run.info.run_id
        _send(store, run, _timed(entry, run, logged), logged)
        return run


def mark_others_past(store: Store, keys: Set[str]) -> None:
    """Tag all runs as past that are current and have none of these keys."""
    for run in store.search("tags.current = 'true'"):
        if run.data.tags.get(KEY) not in keys:
            store.ask(store.client.set_tag, run.info.run_id, "current", "false")


def _logged_epochs(store: Store, run: Run) -> dict[int, Metric]:
    """The running loss by epoch. An epoch's columns are sent in one batch, so this says which epochs are there."""
    if "running_loss" not in run.data.metrics:
        return {}
    history = store.ask(store.client.get_metric_history, run.info.run_id, "running_loss")
    return {metric.step: metric for metric in history}


def _contradict(logged: Mapping[int, Metric], entry: Entry) -> bool:
    """Whether the run was trained again and came out differently."""
    losses = [(row.get("running_loss"), logged.get(int(row["epoch"]))) for row in entry.rows]
    return any(metric and metric.value != loss for loss, metric in losses)


def _timed(entry: Entry, run: Run, logged: Mapping[int, Metric]) -> Entry:
    """Return the entry with the end of its training as the store knows it, unless the entry has seen the training.

    A later record of the same results sees only their files.
    """
    if entry.kind == "run" and not entry.restored and DELIVERED not in run.data.tags:
        return entry
    ended = run.info.end_time or max((metric.timestamp for metric in logged.values()), default=entry.ended)
    return dataclasses.replace(entry, ended=ended)


def _send(store: Store, run: Run, entry: Entry, logged_epochs: Collection[int]) -> None:
    digest = entry.digest() if entry.complete else ""
    parent = store.run_id(entry.parent) if entry.parent else ""
    tags = missing_tags(run, entry, parent)
    if digest and run.data.tags.get(DELIVERED) == digest:
        _log(store, run, [], [], tags)
        return
    _log(store, run, missing_metrics(run, entry, logged_epochs), missing_params(run, entry), tags)
    if inputs := missing_inputs(run, entry):
        store.ask(store.client.log_inputs, run.info.run_id, inputs)
    for path, folder in entry.files.items():
        store.ask(store.client.log_artifact, run.info.run_id, path, folder or None)
    _close(store, run, entry)
    if digest:
        store.ask(store.client.set_tag, run.info.run_id, DELIVERED, digest)


def _log(store: Store, run: Run, metrics: list[Metric], params: list[Param], tags: list[RunTag]) -> None:
    """In as few calls as the limits allow: each is a transaction, which costs more than its content."""
    few = BATCH // 10
    while metrics or params or tags:
        room = BATCH - len(params[:few]) - len(tags[:few])
        store.ask(store.client.log_batch, run.info.run_id, metrics[:room], params[:few], tags[:few])
        metrics, params, tags = metrics[room:], params[few:], tags[few:]


def _close(store: Store, run: Run, entry: Entry) -> None:
    status = STATUS[entry.status]
    if status not in ("RUNNING", "SCHEDULED"):
        store.ask(store.client.set_terminated, run.info.run_id, status, entry.ended)
    elif run.info.status != status:
        store.ask(store.client.update_run, run.info.run_id, status=status)


def missing_metrics(run: Run, entry: Entry, logged_epochs: Collection[int]) -> list[Metric]:
    """Return a metric for each column and epoch that is not logged yet, and for each final that differs."""
    epochs = [
        mlflow.entities.Metric(name, value, int(row["time"]), int(row["epoch"]))
        for row in entry.rows
        if int(row["epoch"]) not in logged_epochs
        for name, value in row.items()
        if name not in ("epoch", "time")
    ]
    finals = [
        mlflow.entities.Metric(name, value, entry.ended, epoch)
        for name, (value, epoch) in entry.finals.items()
        if run.data.metrics.get(name) != value
    ]
    return epochs + finals


def missing_params(run: Run, entry: Entry) -> list[Param]:
    """Return the parameters that the run does not have. MLflow changes none that it has."""
    return [mlflow.entities.Param(*item) for item in entry.params.items() if item[0] not in run.data.params]


def missing_tags(run: Run, entry: Entry, parent: str) -> list[RunTag]:
    """Return the tags that are new or differ, with MLflow's own for the parent's id and for the note."""
    tags = {"status": entry.status, **entry.tags}
    if parent:
        tags["mlflow.parentRunId"] = parent
    if entry.note:
        page = f"#/experiments/{run.info.experiment_id}/runs/{parent or run.info.run_id}/artifacts/index.html"
        tags["mlflow.note.content"] = f"{entry.note}\n\n[The report]({page})"
    known = run.data.tags
    return [mlflow.entities.RunTag(name, text) for name, text in tags.items() if text and known.get(name) != text]


def missing_inputs(run: Run, entry: Entry) -> list[DatasetInput]:
    """Return the data sets whose digest the run does not have."""
    known = {logged.dataset.digest for logged in run.inputs.dataset_inputs} if run.inputs else set()
    return [_dataset_input(dataset) for dataset in entry.inputs if dataset["digest"] not in known]


def _dataset_input(fields: Mapping[str, str]) -> DatasetInput:
    dataset = mlflow.entities.Dataset(
        name=fields["name"],
        digest=fields["digest"],
        source_type="local",
        source=json.dumps({"uri": fields["source"]}),
        profile=fields["profile"],
    )
    return mlflow.entities.DatasetInput(dataset, [mlflow.entities.InputTag("mlflow.data.context", fields["context"])])
