"""Stage record with SQLite stores, and with servers that are missing, silent or slow."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import JUDGE, TINY
from mlflow import MlflowClient
from stores import GRID, MANY, PARENT, Place, client_of, points, recorded

from fieldgap.analysis.runs import FILES
from fieldgap.base import locks, names
from fieldgap.base.errors import InputError
from fieldgap.base.files import read_json, write_json
from fieldgap.commands import merge
from fieldgap.commands.watch import Mirror
from fieldgap.report import report
from fieldgap.tracking import outbox, spools
from fieldgap.tracking.datasets import datasets

REFUSING = "http://127.0.0.1:9"


def key_of(place: Place, name: str) -> str:
    return str(read_json(place.root / "runs" / name / "status.json")["key"])


def test_each_run_and_the_ablation_are_recorded_once_and_whole(place: Place) -> None:
    Path("mlflow.db").unlink()  # The first record creates the store.
    for _ in range(2):
        assert [(row["run"], row["recorded"]) for row in place.go()] == [(name, "true") for name in GRID]
    runs = recorded(place)
    assert set(runs) == {*GRID, PARENT}
    parent, run = runs[PARENT], runs["1-0"]
    client = client_of(place)

    assert run.info.status == "FINISHED"
    assert run.data.params["warmup_epochs"] == "1"
    assert run.data.params["augment"] == "true"
    assert run.data.params["options_SGD_momentum"] == "0.9"
    assert {field.name for field in dataclasses.fields(TINY)} - {"options"} < set(run.data.params)
    assert f"numpy {np.__version__}" in run.data.tags["packages"].split(", ")
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    tags = {name: run.data.tags[name] for name in ("kind", "variant", "seed", "status", "restored", "current")}
    assert tags == {
        "kind": "run",
        "variant": "warmup_epochs 1",
        "seed": "0",
        "status": "finished",
        "restored": "false",
        "current": "true",
    }

    history = pd.read_csv(place.root / "runs/1-0/history.csv")
    for column in history.columns.drop("epoch"):
        assert points(place, run, column) == list(enumerate(history[column], 1)), column
    table = pd.read_csv(place.root / "reports/ablation.csv").set_index("run")
    for name in ("train_iou", "test_iou", "gap_test_iou", "fresh_iou", "gap_fresh_iou"):
        assert points(place, run, f"final_{name}") == [(3, table.loc["1-0", name])]
    assert run.data.metrics["best_test_iou"] == table.loc["1-0", "best_test_iou"]
    assert run.data.metrics["train_iou"] == history["train_iou"].iloc[-1] != run.data.metrics["final_train_iou"]

    assert {item.path for item in client.list_artifacts(run.info.run_id)} - {"model"} == set(FILES)
    assert {"index.html", "ablation.csv"} < {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert "figures/gap.svg" in {item.path for item in client.list_artifacts(parent.info.run_id, "figures")}
    page = f"[The report](#/experiments/{run.info.experiment_id}/runs/{parent.info.run_id}/artifacts/index.html)"
    assert page in run.data.tags["mlflow.note.content"]
    assert parent.data.tags["mlflow.note.content"].startswith((place.root / "reports/summary.md").read_text())
    assert "Best run of the best variant by validation IoU: " in parent.data.tags["mlflow.note.content"]
    assert not list(names.SPOOLS.iterdir())


def test_what_else_lies_beside_the_report_is_not_uploaded(place: Place) -> None:
    """Such as the draft of a killed process, or the mark of a store that refused an earlier record."""
    for name in (".index.html.10970.draft", "recorded.due", "recorded.csv", "png/.gap.png.1.draft", "mine.txt"):
        (place.root / "reports" / name).touch()
    place.go()
    (parent,) = client_of(place).search_runs(["1"], "tags.kind = 'ablation'")
    found = {
        item.path
        for folder in ("", "captions", "figures", "png")
        for item in client_of(place).list_artifacts(parent.info.run_id, folder)
        if not item.is_dir
    }
    assert found == set(names.REPORTED)


def test_a_run_has_the_times_of_its_training(place: Place) -> None:
    (spool,) = (spool for spool in spools.read_all(names.SPOOLS) if spool.run == "1-0")
    place.go()
    run = recorded(place)["1-0"]
    assert (run.info.start_time, run.info.end_time) == (spool.started, spool.ended)
    history = client_of(place).get_metric_history(run.info.run_id, "val_iou")
    assert [point.timestamp for point in history] == [row["time"] for row in spool.rows]


def test_data_sets_are_inputs_and_their_digest_follows_their_bytes(place: Place) -> None:
    place.go()
    inputs = {logged.tags[0].value: logged.dataset for logged in recorded(place)["1-0"].inputs.dataset_inputs}
    assert set(inputs) == {"train", "val", "test"}
    rows = pd.read_csv(place.root / "tiles/tiles.csv")
    assert json.loads(inputs["val"].profile)["num_rows"] == (rows["split"] == "val").sum()
    before = {name: dataset.digest for name, dataset in inputs.items()}
    assert len(set(before.values())) == 3

    with (place.root / "tiles/masks.npy").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    other = dataclasses.replace(place, record=dataclasses.replace(place.record, experiment="other"))
    other.go()
    after = {logged.dataset.digest for logged in recorded(other)["1-0"].inputs.dataset_inputs}
    assert len(after) == 3
    assert not set(before.values()) & after
    digests = [recorded(at)["1-0"].data.tags["data_digest"] for at in (place, other)]
    assert digests[0] != digests[1]


def test_data_sets_of_a_run_are_the_tiles_that_it_had(place: Place) -> None:
    """They follow fold, split_by and train_share. Equal tiles have one digest, and others have another."""
    tiles = place.root / "tiles"
    path = tiles / "tiles.csv"
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows["fold"] = np.where(rows["split"] == "test", "", np.arange(len(rows)) // 4 % 2)
    rows.to_csv(path, index=False)
    made = {
        "split": datasets(tiles, "0" * 64, "none", "scene", 1.0),
        "fold 0": datasets(tiles, "0" * 64, 0, "scene", 1.0),
        "fold 1": datasets(tiles, "0" * 64, "1", "scene", 1.0),
        "torn": datasets(tiles, "0" * 64, "none", "tile", 1.0),
        "half": datasets(tiles, "0" * 64, "none", "scene", 0.5),
    }
    counts = {name: [json.loads(data["profile"])["num_rows"] for data in splits] for name, splits in made.items()}
    train, val, test = (int((rows["split"] == split).sum()) for split in ("train", "val", "test"))
    even, odd = (int((rows["fold"] == fold).sum()) for fold in "01")
    training_scenes = rows.loc[rows["split"] == "train", "scene"].nunique()
    assert counts == {
        "split": [train, val, test],
        "fold 0": [odd, even, test],
        "fold 1": [even, odd, test],
        "torn": [train, val, test],
        "half": [-(-training_scenes // 2) * 4, val, test],
    }
    assert [data["context"] for data in made["half"]] == ["train", "val", "test"]
    digests = {name: {data["context"]: data["digest"] for data in splits} for name, splits in made.items()}
    assert len({splits["test"] for splits in digests.values()}) == 2
    assert digests["half"]["val"] == digests["split"]["val"]
    assert len({splits["val"] for splits in digests.values()}) == 4
    assert len({splits["train"] for splits in digests.values()}) == 5


def test_an_ablation_has_a_value_wherever_its_runs_have_one(place: Place) -> None:
    """The UI adds the ablation to any filtered runs, as Unassigned if it lacks the parameter of a group."""
    place.go()
    runs = recorded(place)
    parent = runs[PARENT].data
    assert parent.params.keys() == runs["0-0"].data.params.keys()
    assert parent.params["warmup_epochs"] == "[0, 1]"
    assert parent.params["lr"] == runs["0-0"].data.params["lr"] == "0.05"
    assert not parent.metrics


def test_a_run_from_a_cache_is_recorded_and_marked(place: Place) -> None:
    """Such a run left no spool here. A run that the store has already is not marked afterwards."""
    (names.SPOOLS / f"{key_of(place, '1-0')}.jsonl").unlink()
    for _ in range(2):
        place.go()
    assert {name: run.data.tags["restored"] for name, run in recorded(place).items()} == {
        "0-0": "false",
        "1-0": "true",
        PARENT: "false",
    }


def test_runs_of_earlier_parameters_stay_and_are_past(place: Place) -> None:
    place.go()
    smaller = {name: axes for name, axes in GRID.items() if name == "0-0"}
    report.run(place.root / "runs", place.root / "tiles", place.root / "reports", smaller, JUDGE, "0" * 64)
    place.go(smaller)
    client = client_of(place)
    current = client.search_runs(["1"], "tags.current = 'true'")
    assert sorted((run.info.run_name, run.data.tags["kind"]) for run in current) == [
        ("0-0", "run"),
        (PARENT, "ablation"),
    ]
    assert len(client.search_runs(["1"], "tags.current = 'false'")) == 2
    report.run(place.root / "runs", place.root / "tiles", place.root / "reports", GRID, JUDGE, "0" * 64)
    place.go()
    assert len(client.search_runs(["1"], "tags.current = 'true'")) == 3
    assert len(client.search_runs(["1"])) == 4


def test_options_of_some_runs_are_parameters_of_all(place: Place) -> None:
    """A run that lacks the parameter by which the UI groups drops out of the group."""
    config = read_json(place.root / "runs/1-0/config.json")
    config["options"]["polynomial"] = {"power": 2.0}
    write_json(place.root / "runs/1-0/config.json", config)
    place.go()
    runs = recorded(place)
    assert [runs[name].data.params["options_polynomial_power"] for name in GRID] == ["none", "2.0"]
    assert runs["0-0"].data.params.keys() == runs["1-0"].data.params.keys()


def test_a_diverged_run_is_red_and_says_why(place: Place) -> None:
    path = place.root / "runs/1-0/status.json"
    write_json(path, {**read_json(path), "status": "diverged", "reason": "the loss is not finite"})
    path = place.root / "runs/1-0/metrics.json"
    write_json(path, {**read_json(path), "status": "diverged"})
    place.go()
    run = recorded(place)["1-0"]
    assert (run.info.status, run.data.tags["status"]) == ("FAILED", "diverged")
    assert "diverged (the loss is not finite)" in run.data.tags["mlflow.note.content"]
    champion = client_of(place).get_model_version_by_alias("fieldgap", "champion")
    assert champion.run_id == recorded(place)["0-0"].info.run_id


@contextlib.contextmanager
def held(spool: Path) -> Iterator[None]:
    """Hold the lock of a spool, as its training does while it runs."""
    lock = locks.take(names.lock_of(spool))
    assert lock
    yield
    locks.discard(lock)


def test_a_run_whose_training_was_watched_is_the_same_run(place: Place) -> None:
    """Watched while it runs, killed, resumed and recorded, it is one MLflow run with each epoch once."""
    path = names.SPOOLS / f"{key_of(place, '1-0')}.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    mirror = Mirror(names.SPOOLS, place.record)
    (names.SPOOLS / f"{key_of(place, '0-0')}.jsonl").unlink()

    path.write_text("".join(lines[:2]))
    with held(path):
        mirror.sync(leaving=False)
        run = recorded(place)["1-0"]
        assert (run.info.status, run.data.tags["current"], run.data.tags["restored"]) == ("RUNNING", "true", "false")
        history = pd.read_csv(place.root / "runs/1-0/history.csv")
        assert points(place, run, "val_iou") == [(1, history["val_iou"][0])]
    mirror.sync(leaving=False)
    assert recorded(place)["1-0"].info.status == "KILLED"

    path.write_text("".join(lines[:2] + lines[:1] + lines[2:3]))
    with held(path):
        mirror.sync(leaving=False)
        assert recorded(place)["1-0"].info.status == "RUNNING"
        mirror.sync(leaving=True)
        assert recorded(place)["1-0"].info.status == "SCHEDULED"
    path.write_text("".join(lines))
    mirror.sync(leaving=False)
    assert recorded(place)["1-0"].info.status == "FINISHED"
    place.go()
    after = recorded(place)["1-0"]
    assert after.info.run_id == run.info.run_id
    assert points(place, after, "val_iou") == list(enumerate(history["val_iou"], 1))


@pytest.mark.parametrize("asked", [False, True])
def test_system_metrics_come_when_asked_for_and_go_on_after_a_kill(
    place: Place, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", str(asked).lower())
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    (names.SPOOLS / f"{key_of(place, '0-0')}.jsonl").unlink()
    path = names.SPOOLS / f"{key_of(place, '1-0')}.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]))
    mirror = Mirror(names.SPOOLS, place.record)
    measured: list[tuple[int, float]] = []
    for _ in range(2):
        with held(path):
            mirror.sync(leaving=False)
            assert bool(mirror.monitors) == asked
            time.sleep(3 if asked else 0)
        mirror.sync(leaving=False)
        assert not mirror.monitors
        before = len(measured)
        run = recorded(place)["1-0"]
        measured = points(place, run, "system/cpu_utilization_percentage")
        assert [step for step, _ in measured] == list(range(len(measured)))
        assert (len(measured) > before) == asked
    assert all(0 <= share <= 100 for _, share in measured)
    assert ("system/system_memory_usage_megabytes" in run.data.metrics) == asked


def test_repeating_a_recorded_training_adds_nothing(place: Place, made: Path) -> None:
    place.go()
    before = recorded(place)["1-0"]
    name = f"{key_of(place, '1-0')}.jsonl"
    (names.SPOOLS / name).write_text((made / "spools" / name).read_text().replace('"time": 1', '"time": 2'))
    Mirror(names.SPOOLS, place.record).sync(leaving=False)
    place.go()
    after = recorded(place)["1-0"]
    assert (after.info.run_id, after.info.status, after.info.end_time) == (
        before.info.run_id,
        "FINISHED",
        before.info.end_time,
    )
    assert len(points(place, after, "val_iou")) == 3


def test_a_repetition_with_another_result_replaces_the_run(place: Place) -> None:
    place.go()
    before = recorded(place)["1-0"]
    path = place.root / "runs/1-0/history.csv"
    history = pd.read_csv(path)
    history["running_loss"] *= 1.5
    history.to_csv(path, index=False)
    place.go()
    after = recorded(place)["1-0"]
    assert after.info.run_id != before.info.run_id
    assert points(place, after, "running_loss") == list(enumerate(history["running_loss"], 1))


def test_a_killed_training_that_nobody_watched_is_closed_by_the_next_record(place: Place) -> None:
    with (names.SPOOLS / f"{'feed' * 16}.jsonl").open("w") as file:
        file.write(
            '{"time": 5, "run": "9-9", "config": {"seed": 9}}\n{"time": 7, "row": {"epoch": 1, "running_loss": 2}}\n'
        )
    place.go()
    run = recorded(place)["9-9"]
    assert (run.info.status, run.data.tags["current"], run.info.end_time) == ("KILLED", "false", 7)
    assert points(place, run, "running_loss") == [(1, 2.0)]
    assert not list(names.SPOOLS.iterdir())


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def slow() -> Iterator[str]:
    """The address of a server that answers every request with an empty object after a second."""

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # The client may be gone before the answer arrives.
            while connection.recv(65536):
                time.sleep(1)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")

    def accept(server: socket.socket) -> None:
        while True:
            try:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, args=(server,), daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def old_schema(place: Place) -> str:
    shutil.copy("mlflow.db", "old.db")
    with contextlib.closing(sqlite3.connect("old.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    return "sqlite:///old.db"


def no_database(place: Place) -> str:
    Path("broken.db").write_bytes(b"this is no database" * 99)
    return "sqlite:///broken.db"


TROUBLES = {
    "refused": lambda place: REFUSING,
    "unknown": lambda place: "nothing://here",
    "old schema": old_schema,
    "no database": no_database,
    "no folder": lambda place: "sqlite:////proc/nowhere/mlflow.db",
}


@pytest.mark.parametrize("trouble", [*TROUBLES, "silent", "slow"])
def test_a_broken_store_costs_five_seconds_and_is_reported_once(
    place: Place, trouble: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = TROUBLES[trouble](place) if trouble in TROUBLES else request.getfixturevalue(trouble)
    place.go()
    start = time.monotonic()
    place.go()
    healthy = time.monotonic() - start
    capsys.readouterr()
    start = time.monotonic()
    assert {row["recorded"] for row in place.with_store(uri).go()} == {"false"}
    assert time.monotonic() - start < healthy + 5 + 1.5
    message = capsys.readouterr().err
    assert message.count("does not accept records") == 1
    assert "3 of 3 wait in .fieldgap/spool for the next record" in message
    assert len(list(outbox.load(names.SPOOLS))) == 3


def test_the_next_record_sends_what_waits_even_of_runs_that_are_gone(place: Place) -> None:
    place.with_store(REFUSING).go()
    smaller = {"0-0": GRID["0-0"]}
    report.run(place.root / "runs", place.root / "tiles", place.root / "reports", smaller, JUDGE, "0" * 64)
    shutil.rmtree(place.root / "runs/1-0")
    for _ in range(2):
        assert {row["recorded"] for row in place.go(smaller)} == {"true"}
    client = client_of(place)
    runs = [(run.info.run_name, run.data.tags["current"], run.info.status) for run in client.search_runs(["1"])]
    assert sorted(runs) == [
        ("0-0", "true", "FINISHED"),
        ("1-0", "false", "FINISHED"),
        (PARENT, "false", "FINISHED"),
        (PARENT, "true", "FINISHED"),
    ]
    (gone,) = client.search_runs(["1"], "attributes.run_name = '1-0'")
    assert {item.path for item in client.list_artifacts(gone.info.run_id)} >= set(FILES)
    assert [point.step for point in client.get_metric_history(gone.info.run_id, "val_iou")] == [1, 2, 3]
    assert not list(names.SPOOLS.iterdir())


def test_a_delivery_that_broke_off_is_completed_by_the_next(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It breaks off within the second run's artifacts. Afterwards nothing is missing, and nothing is there twice."""
    log = MlflowClient.log_artifact

    def until_full(client: MlflowClient, run: str, path: str, folder: str | None) -> None:
        if path.endswith("1-0/steps.csv"):
            raise OSError("No space left on device")
        log(client, run, path, folder)

    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "log_artifact", until_full)
        assert [row["recorded"] for row in place.go()] == ["true", "false"]
    assert [row["recorded"] for row in place.go()] == ["true", "true"]
    runs = recorded(place)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for name in GRID:
        assert [step for step, _ in points(place, runs[name], "val_iou")] == [1, 2, 3]
        assert len(points(place, runs[name], "final_val_iou")) == 1
        assert {item.path for item in client_of(place).list_artifacts(runs[name].info.run_id)} >= set(FILES)


def test_what_waits_survives_the_folder_of_its_runs(place: Place) -> None:
    place.with_store(REFUSING).go()
    before = {entry.key: entry.digest() for entry in outbox.load(names.SPOOLS)}
    shutil.rmtree(place.root / "runs")
    assert {entry.key: entry.digest() for entry in outbox.load(names.SPOOLS)} == before
    assert len(before) == 3


def test_merging_the_spools_of_machines_without_network_records_each_run_once(place: Place, tmp_path: Path) -> None:
    """One node could not reach its store, the other stopped before its evaluation. Both are merged twice."""
    place.with_store(REFUSING).go()
    shutil.move(names.SPOOLS, tmp_path / "a")
    (tmp_path / "b").mkdir()
    name = f"{key_of(place, '1-0')}.jsonl"
    lines = (tmp_path / "made/spools" / name).read_text().splitlines(keepends=True)
    (tmp_path / "b" / name).write_text("".join(lines[:3]))
    for folder in ("b", "a", "b", "a"):
        merge.run(tmp_path / folder, place.record)
    runs = recorded(place)
    assert {name: run.info.status for name, run in runs.items()} == dict.fromkeys([*GRID, PARENT], "FINISHED")
    for name in GRID:
        assert runs[name].data.tags["mlflow.parentRunId"] == runs[PARENT].info.run_id
        assert [step for step, _ in points(place, runs[name], "val_iou")] == [1, 2, 3]
    with pytest.raises(InputError, match=r"nowhere: no spool is there"):
        merge.run(tmp_path / "nowhere", place.record)


@pytest.mark.slow
def test_32_processes_can_share_a_fresh_store(place: Place) -> None:
    """All send the same runs at the same time. No process fails, and no run is there twice."""
    place.with_store(REFUSING).go()
    Path("mlflow.db").unlink()
    command = [sys.executable, "-c", MANY, str(names.SPOOLS), place.record.store, "32"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    runs = recorded(place)
    assert set(runs) == {*GRID, PARENT}
    for name in GRID:
        assert [step for step, _ in points(place, runs[name], "val_iou")] == [1, 2, 3]
        assert len(points(place, runs[name], "final_val_iou")) == 1
