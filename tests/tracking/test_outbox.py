"""Spools and entries that wait: what is unfit is set aside, what is fit stays until a store has it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import JUDGE
from mlflow import MlflowClient
from stores import GRID, PARENT, Place, client_of, recorded

from fieldgap.analysis.runs import FILES
from fieldgap.base import names
from fieldgap.base.errors import InputError
from fieldgap.base.files import read_json, write_json
from fieldgap.commands import merge
from fieldgap.commands.watch import Mirror
from fieldgap.report import report
from fieldgap.tracking import outbox, spools

REFUSING = "http://127.0.0.1:9"
SMALLER = {"0-0": GRID["0-0"]}
OTHER = "ab" * 32  # The key of something that is not part of the grid.


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file in a folder that no record has any business with."""
    path = tmp_path / "home/precious.txt"
    path.parent.mkdir()
    path.write_text("secret")
    return path


def waiting(place: Place) -> Path:
    """Return the entry.json of run 1-0, which waits as an entry of its own, with another key."""
    place.with_store(REFUSING).go()
    key = read_json(place.root / "runs/1-0/status.json")["key"]
    shutil.copytree(names.SPOOLS / key, names.SPOOLS / OTHER)
    path = names.SPOOLS / OTHER / "entry.json"
    write_json(path, {**read_json(path), "key": OTHER, "name": "other", "parent": ""})
    return path


def test_a_run_whose_key_is_a_path_is_refused_by_name_and_nothing_is_removed(place: Place, precious: Path) -> None:
    path = place.root / "runs/1-0/status.json"
    write_json(path, {**read_json(path), "key": str(precious.parent)})
    with pytest.raises(InputError, match=r"runs/1-0/status.json: key: .* is not a key, .*; train 1-0 again"):
        place.go()
    assert precious.exists()


UNFIT: dict[str, Callable[[dict[str, Any], Path], object]] = {
    "key is a folder": lambda entry, precious: {**entry, "key": str(precious.parent)},
    "key of another": lambda entry, precious: {**entry, "key": "cd" * 32},
    "parent is no key": lambda entry, precious: {**entry, "parent": "' or 1=1"},
    "file is elsewhere": lambda entry, precious: {**entry, "files": {f"../../../home/{precious.name}": ""}},
    "file is absolute": lambda entry, precious: {**entry, "files": {str(precious): ""}},
    "file is a link": lambda entry, precious: {**entry, "files": {"link.txt": ""}},
    "folder leaves the artifacts": lambda entry, precious: {
        **entry,
        "files": dict.fromkeys(entry["files"], "../../../../home"),
    },
    "name has two lines": lambda entry, precious: {**entry, "name": "one\ntwo"},
    "kind": lambda entry, precious: {**entry, "kind": "experiment"},
    "status": lambda entry, precious: {**entry, "status": "cheerful"},
    "time is huge": lambda entry, precious: {**entry, "ended": 10**30},
    "row is a number": lambda entry, precious: {**entry, "rows": [5]},
    "row has no epoch": lambda entry, precious: {**entry, "rows": [{"time": 5, "running_loss": 1}]},
    "row has no time": lambda entry, precious: {**entry, "rows": [{"epoch": 1, "running_loss": 1}]},
    "metric has no name": lambda entry, precious: {**entry, "finals": {"../up": [0.5, 1]}},
    "parameter has no name": lambda entry, precious: {**entry, "params": {"a\nb": "1"}},
    "data set has no digest": lambda entry, precious: {**entry, "inputs": [{"name": "train tiles"}]},
    "a list": lambda entry, precious: [],
    "a number": lambda entry, precious: 5,
    "nested for ever": lambda entry, precious: "[" * 100_000,
}


@pytest.mark.parametrize("unfit", UNFIT)
def test_an_unfit_entry_is_set_aside_by_name_and_the_others_arrive(
    place: Place, precious: Path, unfit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = waiting(place)
    (path.parent / "link.txt").symlink_to(precious)
    content = UNFIT[unfit](read_json(path), precious)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    capsys.readouterr()
    for said in (1, 0):
        assert {row["recorded"] for row in place.go()} == {"true"}
        assert capsys.readouterr().err.count(f"{path}: cannot be used") == said
    assert path.with_name("entry.json.unfit").exists()
    assert precious.read_text() == "secret"
    client = client_of(place)
    for run in recorded(place).values():
        assert precious.name not in {item.path for item in client.list_artifacts(run.info.run_id)}
    assert set(recorded(place)) == {*GRID, PARENT}


def test_merge_sends_no_file_from_outside_the_folder(place: Place, precious: Path) -> None:
    path = waiting(place)
    write_json(path, {**read_json(path), "files": {f"../../../home/{precious.name}": ""}})
    merge.run(names.SPOOLS, place.record)
    assert set(recorded(place)) == {*GRID, PARENT}
    client = client_of(place)
    for run in recorded(place).values():
        assert precious.name not in {item.path for item in client.list_artifacts(run.info.run_id)}


def test_an_entry_of_another_version_stays(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    path = waiting(place)
    write_json(path, {**read_json(path), "colour": "red"})
    capsys.readouterr()
    assert {row["recorded"] for row in place.go()} == {"true"}
    assert capsys.readouterr().err.count("was saved by another version of fieldgap") == 1
    assert path.exists()


LINES = {
    "no epoch": '{"time": 7, "row": {"running_loss": 2}}',
    "no time": '{"row": {"epoch": 1, "running_loss": 2}}',
    "epoch is text": '{"time": 7, "row": {"epoch": "one", "running_loss": 2}}',
    "no row": '{"time": 7, "row": 5}',
    "unknown end": '{"time": 7, "end": "cheerful"}',
    "no run": '{"time": 7, "config": {}}',
    "nothing": '{"time": 7}',
    "config is a list": '{"time": 7, "run": "9-9", "config": []}',
    "nested for ever": "[" * 100_000,
}


@pytest.mark.parametrize("line", LINES)
def test_a_spool_with_an_unfit_line_is_set_aside_by_name_and_the_others_are_read(
    place: Place, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = names.SPOOLS / f"{OTHER}.jsonl"
    path.write_text(f'{{"time": 5, "run": "9-9", "config": {{"seed": 9}}}}\n{LINES[line]}\n')
    assert [spool.run for spool in spools.read_all(names.SPOOLS)] != ["9-9"]
    assert capsys.readouterr().err.count(f"{path}: cannot be used") == 1
    assert path.with_name(f"{path.name}.unfit").exists()
    assert {spool.run for spool in spools.read_all(names.SPOOLS)} == set(GRID)
    assert not capsys.readouterr().err


def test_a_line_that_is_no_object_counts_as_torn(place: Place) -> None:
    (path,) = (path for path in names.SPOOLS.glob("*.jsonl") if '"1-0"' in path.read_text())
    before = spools.read(path)
    path.write_text("5\n[]\n" + path.read_text())
    assert spools.read(path) == before


def test_a_spool_with_other_columns_is_recorded(place: Place) -> None:
    (names.SPOOLS / f"{OTHER}.jsonl").write_text(
        '{"time": 5, "run": "9-9", "config": {}}\n{"time": 7, "row": {"epoch": 1, "val_iou": 0.5}}\n'
    )
    assert {row["recorded"] for row in place.go()} == {"true"}
    assert recorded(place)["9-9"].data.metrics == {"val_iou": 0.5}
    assert not list(names.SPOOLS.iterdir())


def test_record_and_the_mirror_pass_over_foreign_files(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    foreign = names.SPOOLS / "notes.jsonl"
    for go in (place.go, lambda: Mirror(names.SPOOLS, place.record).sync(leaving=False)):
        foreign.write_text('{"time": 5, "run": "9-9", "config": {"seed": 9}}\n')
        go()
        assert capsys.readouterr().err.count(f"{foreign}: cannot be used ('notes' is not a key") == 1
    assert set(recorded(place)) == {*GRID, PARENT}


def test_what_waits_survives_a_second_refusal_without_its_runs(place: Place) -> None:
    place.with_store(REFUSING).go()
    before = {entry.key: entry.digest() for entry in outbox.load(names.SPOOLS)}
    report.run(place.root / "runs", place.root / "tiles", place.root / "reports", SMALLER, JUDGE, "0" * 64)
    shutil.rmtree(place.root / "runs/1-0")
    changing = {read_json(place.root / "runs/0-0/status.json")["key"]}  # Its variant has another name now.
    for _ in range(2):
        place.with_store(REFUSING).go(SMALLER)
        after = {entry.key: entry.digest() for entry in outbox.load(names.SPOOLS)}
        assert len(after) == len(before) + 1
        assert {key: after[key] for key in before.keys() - changing} == {
            key: before[key] for key in before.keys() - changing
        }
    assert {row["recorded"] for row in place.go(SMALLER)} == {"true"}
    assert len(recorded(place)) == 3, "an ablation has the name of the other"
    assert not list(names.SPOOLS.iterdir())


def test_an_entry_that_cannot_be_saved_stays_as_it_was_and_the_others_are_saved(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place.with_store(REFUSING).go()
    before = {entry.key: entry.digest() for entry in outbox.load(names.SPOOLS)}
    shutil.rmtree(names.SPOOLS / read_json(place.root / "runs/1-0/status.json")["key"])
    link = os.link

    def full(source: Path, target: Path) -> None:
        if "0-0" in str(source):
            raise OSError(28, "No space left on device")
        link(source, target)

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(shutil, "copy", full)
    place.with_store(REFUSING).go()
    assert "No space left on device" in capsys.readouterr().err
    assert {entry.key: entry.digest() for entry in outbox.load(names.SPOOLS)} == before
    assert not list(names.SPOOLS.glob("*/files.*/**/*.draft"))
    assert all(len(list(folder.glob("files.*"))) == 1 for folder in names.SPOOLS.iterdir() if folder.is_dir())


def test_what_waits_holds_the_bytes_behind_links_into_a_cache(place: Place) -> None:
    cached = place.root / "cached.csv"
    path = place.root / "runs/1-0/history.csv"
    shutil.move(path, cached)
    path.symlink_to(cached)
    place.with_store(REFUSING).go()
    shutil.rmtree(place.root / "runs")
    cached.unlink()
    merge.run(names.SPOOLS, place.record)
    run = recorded(place)["1-0"]
    assert {item.path for item in client_of(place).list_artifacts(run.info.run_id)} >= set(FILES)


@pytest.mark.parametrize(("refused", "arrived"), [("0-0", ["false", "true"]), (PARENT, ["false", "false"])])
def test_an_entry_that_the_store_refuses_does_not_stop_the_others(
    place: Place, refused: str, arrived: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without its ablation a run is sent, and again by the next record, which tells MLflow whose it is."""
    create = MlflowClient.create_run

    def refuse(client: MlflowClient, *args: Any, run_name: str, **kwargs: Any) -> Any:
        if run_name == refused:
            raise OSError(f"{run_name} is unlucky")
        return create(client, *args, run_name=run_name, **kwargs)

    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "create_run", refuse)
        assert [row["recorded"] for row in place.go()] == arrived
    assert f"does not accept records ({refused} is unlucky)" in capsys.readouterr().err
    assert set(recorded(place)) == {*GRID, PARENT} - {refused}
    assert {row["recorded"] for row in place.go()} == {"true"}
    runs = recorded(place)
    assert {runs[name].data.tags["mlflow.parentRunId"] for name in GRID} == {runs[PARENT].info.run_id}
    assert not list(names.SPOOLS.iterdir())


def test_a_spool_that_the_store_refuses_does_not_stop_the_mirror(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    create = MlflowClient.create_run

    def refuse(client: MlflowClient, *args: Any, run_name: str, **kwargs: Any) -> Any:
        if run_name == first:
            raise OSError("unlucky")
        return create(client, *args, run_name=run_name, **kwargs)

    first, second = (spool.run for spool in spools.read_all(names.SPOOLS))
    monkeypatch.setattr(MlflowClient, "create_run", refuse)
    assert not Mirror(names.SPOOLS, place.record).attempt(leaving=False)
    assert set(recorded(place)) == {second}
