"""Where records go, under which names, with which times, and what becomes of them when the disk is full."""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path

import pytest
from stores import GRID, PARENT, Place, client_of, points, recorded

from fieldgap.base import names
from fieldgap.base.errors import InputError
from fieldgap.base.files import read_json, write_json
from fieldgap.commands.watch import Mirror
from fieldgap.settings.messages import checked
from fieldgap.settings.sections import Record
from fieldgap.tracking import record, spools
from fieldgap.tracking.store import Store

MINUTE = 60_000  # Milliseconds.


def named(place: Place, experiment: str) -> Place:
    return dataclasses.replace(place, record=dataclasses.replace(place.record, experiment=experiment))


@pytest.mark.parametrize("name", ["team/it's:1", "/Users/me/exp", 'a "b" `c` %', "Äcker & Höfe", "..", "x" * 250])
def test_an_experiment_may_have_any_name(place: Place, name: str) -> None:
    here = named(place, name)
    for _ in range(2):
        assert {row["recorded"] for row in here.go()} == {"true"}
    model = Store(here.record.store, name).model
    champion = client_of(here).get_model_version_by_alias(model, "champion")
    assert champion.run_id in {run.info.run_id for run in recorded(here).values()}


def test_the_model_has_the_experiments_name_or_one_of_its_own() -> None:
    experiments = ("fieldgap", "my fields 2.0", "a/b", "a:b", "a-b", "/", "x" * 250, "x" * 249)
    models = [Store("http://127.0.0.1:9", name).model for name in experiments]
    assert models[:2] == ["fieldgap", "my fields 2.0"]
    assert len(set(models)) == len(experiments)
    assert all(0 < len(model) <= 200 and not set(model) & set("/:'\"") for model in models)


@pytest.mark.parametrize("name", ["", " ", " fieldgap", "fieldgap ", "x" * 251, "two\nlines"])
def test_a_name_that_cannot_work_is_refused_with_the_settings(name: str) -> None:
    with pytest.raises(InputError, match=r"^experiment: .*(write a name of at most 250 characters|does not print)"):
        checked(Record, {"store": "sqlite:///mlflow.db", "experiment": name, "wait_seconds": 5})


@pytest.mark.parametrize("store", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///?timeout=5"])
def test_a_store_that_forgets_is_refused_with_the_settings(store: str) -> None:
    with pytest.raises(
        InputError, match=r"^store: .* is not allowed; write a tracking URI such as sqlite:///mlflow.db"
    ):
        checked(Record, {"store": store, "experiment": "fieldgap", "wait_seconds": 5})


def test_a_deleted_experiment_is_named_with_the_way_to_restore_it(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.go()
    client_of(place).delete_experiment("1")
    capsys.readouterr()
    assert {row["recorded"] for row in place.go()} == {"false"}
    Store(place.record.store, "fieldgap").open()  # The UI shows it all the same.
    assert "experiment fieldgap is deleted; restore it with mlflow experiments restore -x 1" in capsys.readouterr().err
    client_of(place).restore_experiment("1")
    assert {row["recorded"] for row in place.go()} == {"true"}


def test_no_variable_of_the_environment_redirects_or_refuses_a_record(place: Place) -> None:
    """Long values are cut, as MLflow does by default, and none is sent from a thread that may not live to send it."""
    elsewhere = dict.fromkeys(
        ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_WORKSPACE_STORE_URI", "_MLFLOW_SERVER_ARTIFACT_ROOT"),
        "http://127.0.0.1:9",
    )
    others = {
        "MLFLOW_EXPERIMENT_ID": "77",
        "MLFLOW_EXPERIMENT_NAME": "theirs",
        "MLFLOW_RUN_ID": "f" * 32,
        "MLFLOW_ACTIVE_MODEL_ID": "m-" + "f" * 32,
        "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
        "MLFLOW_TRUNCATE_LONG_VALUES": "false",
    }
    path = place.root / "runs/1-0/config.json"
    write_json(path, {**read_json(path), "long": "x" * 7000})
    assert not place.go_anew(**elsewhere, **others)
    runs = recorded(place)
    assert set(runs) == {*GRID, PARENT}
    assert [step for step, _ in points(place, runs["1-0"], "val_iou")] == [1, 2, 3]
    assert runs["1-0"].data.params["long"] == "x" * 6000
    assert client_of(place).get_model_version_by_alias("fieldgap", "champion")
    assert {each.name for each in client_of(place).search_experiments()} == {"Default", "fieldgap"}


def later(monkeypatch: pytest.MonkeyPatch, minutes: int) -> None:
    """Have records think that it is that many minutes later."""
    now = time.time
    monkeypatch.setattr(record.time, "time", lambda: now() + 60 * minutes)


def times(place: Place) -> dict[str, tuple[int, int]]:
    return {name: (run.info.start_time, run.info.end_time) for name, run in recorded(place).items()}


def reworded(place: Place) -> None:
    """Give all runs and their ablation another content without another training."""
    for name in GRID:
        path = place.root / "runs" / name / "status.json"
        status = read_json(path)
        write_json(path, {**status, "packages": {**status["packages"], "numpy": "0"}})
    path = place.root / "reports/summary.md"
    path.write_text(path.read_text() + "More.\n")


@pytest.mark.parametrize("restored", [False, True])
def test_a_later_record_of_the_same_results_changes_no_times(
    place: Place, restored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if restored:
        shutil.rmtree(names.SPOOLS)
    place.go()
    before = times(place)
    if restored:
        assert all(ended == started for started, ended in before.values())
    reworded(place)
    later(monkeypatch, 8)
    place.go()
    runs = recorded(place)
    assert "numpy 0" in runs["1-0"].data.tags["packages"]
    assert runs[PARENT].data.tags["mlflow.note.content"].count("More.") == 1
    assert times(place) == before


def test_the_times_that_the_mirror_saw_survive_a_record_without_the_spool(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One training has ended, the other was cut off by a mirror that left, so its last epoch is all that is known."""
    (path,) = (path for path in names.SPOOLS.glob("*.jsonl") if '"0-0"' in path.read_text())
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    seen = {spool.run: spool for spool in spools.read_all(names.SPOOLS)}
    mirror = Mirror(names.SPOOLS, place.record)
    with pytest.MonkeyPatch.context() as running:
        running.setattr("fieldgap.base.locks.held", lambda path: True)
        mirror.sync(leaving=True)
    assert recorded(place)["0-0"].info.status == "SCHEDULED"
    shutil.rmtree(names.SPOOLS)
    later(monkeypatch, 8)
    place.go()
    after = times(place)
    assert after["1-0"] == (seen["1-0"].started, seen["1-0"].ended)
    assert after["0-0"] == (seen["0-0"].started, seen["0-0"].rows[-1]["time"])


def test_an_ablation_takes_as_long_as_its_trainings_that_were_seen(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run came from a cache, eight minutes later."""
    (path,) = (path for path in names.SPOOLS.glob("*.jsonl") if '"0-0"' in path.read_text())
    path.unlink()
    (spool,) = spools.read_all(names.SPOOLS)
    later(monkeypatch, 8)
    place.go()
    assert times(place)[PARENT] == times(place)["1-0"] == (spool.started, spool.ended)


@pytest.mark.parametrize("fresh", [False, True], ids=["store", "fresh store"])
def test_a_full_disk_leaves_a_message_and_the_next_record_completes(place: Place, fresh: bool) -> None:
    """No file may grow beyond 200 kB, which the store does at once."""
    if fresh:
        Path("mlflow.db").unlink()
    told = place.go_anew(limit=200_000)
    assert told.count("does not accept records") == 1
    assert "3 of 3 wait in .fieldgap/spool for the next record" in told
    assert "Traceback" not in told
    assert {row["recorded"] for row in place.go()} == {"true"}
    assert set(recorded(place)) == {*GRID, PARENT}
    assert not list(names.SPOOLS.iterdir())
