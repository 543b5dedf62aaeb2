from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fieldgap.base import names
from fieldgap.tracking import spools
from fieldgap.tracking.spools import read, read_all
from fieldgap.training.journal import Spool

KEY = "0123abcd"
# Another process that trains: it spools two epochs, says so, and waits for its end.
TRAINING = f"""
import sys, time
from fieldgap.training.journal import Spool
lines = Spool("{KEY}", "a-0", {{"seed": 0}}, [])
for epoch in (1, 2):
    lines.epoch({{"epoch": epoch, "running_loss": 1 / epoch}})
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(names, "SPOOLS", Path(".fieldgap/spool"))
    return tmp_path / ".fieldgap/spool"


def training() -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", TRAINING], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_spool_tells_what_was_written(folder: Path) -> None:
    before = int(time.time() * 1000)
    lines = Spool(KEY, "a-0", {"seed": 0, "options": {"SGD": {"momentum": 0.9}}}, [])
    lines.epoch({"epoch": 1, "val_iou": 0.1 + 0.2})
    running = read(folder / f"{KEY}.jsonl")
    assert running
    assert running.status == "running"
    lines.end("diverged")
    told = read(folder / f"{KEY}.jsonl")
    assert told
    assert (told.key, told.run, told.status) == (KEY, "a-0", "diverged")
    assert told.config == {"seed": 0, "options": {"SGD": {"momentum": 0.9}}}
    assert [(row["epoch"], row["val_iou"]) for row in told.rows] == [(1, 0.1 + 0.2)]
    assert before <= told.started <= told.rows[0]["time"] <= told.ended <= time.time() * 1000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_training_is_told_from_a_living_one(folder: Path, number: signal.Signals) -> None:
    process = training()
    assert [each.status for each in read_all(folder)] == ["running"]
    process.send_signal(number)
    process.communicate()
    assert [each.status for each in read_all(folder)] == ["killed"]


def test_a_resumed_training_goes_on_in_the_same_spool(folder: Path) -> None:
    """The killed one had spooled epoch 2 and tore epoch 3; the resumed one begins again at 2."""
    process = training()
    process.kill()
    process.communicate()
    path = folder / f"{KEY}.jsonl"
    first = read(path)
    assert first
    with path.open("a") as file:
        file.write('{"time": 5, "row": {"epoch": 3, "runn')
    lines = Spool(KEY, "a-0", {"seed": 0}, [{"epoch": 1, "running_loss": 9.0}])
    for epoch in (2, 3):
        lines.epoch({"epoch": epoch, "running_loss": 9.0})
    lines.end("finished")
    told = read(path)
    assert told
    assert told.status == "finished"
    assert told.rows[:2] == first.rows
    assert [row["running_loss"] for row in told.rows] == [1.0, 0.5, 9.0]
    assert told.started == first.started


def test_a_second_training_of_the_same_run_leaves_the_spool_to_the_first(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = training()
    before = (folder / f"{KEY}.jsonl").read_bytes()
    lines = Spool(KEY, "a-0", {"seed": 0}, [])
    lines.epoch({"epoch": 1, "running_loss": 3.0})
    lines.end("finished")
    assert (folder / f"{KEY}.jsonl").read_bytes() == before
    assert capsys.readouterr().err.count("another process trains the same run") == 1
    process.kill()
    process.communicate()


FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
from fieldgap.training.journal import Spool
lines = Spool("full", "a-0", {"seed": 0}, [])
for epoch in range(9):
    lines.epoch({"epoch": epoch, "running_loss": 1.0})
lines.end("finished")
"""


def test_a_full_disk_is_said_once_and_never_raised(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=True)
    assert done.stderr.count("\n") == 1
    assert "File too large; MLflow will see this run at its end" in done.stderr
    told = read(folder / "full.jsonl")
    assert told
    assert 0 < len(told.rows) < 9
    assert told.status == "killed"


def test_where_no_folder_can_be_the_training_goes_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.parent.touch()
    Spool(KEY, "a-0", {"seed": 0}, []).epoch({"epoch": 1})
    assert capsys.readouterr().err.count("MLflow will see this run at its end") == 1


def test_a_spool_without_a_start_is_passed_over(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "torn.jsonl").write_text('{"time": 1, "ru')
    (folder / "empty.jsonl").touch()
    assert read_all(folder) == []


def test_forgetting_spares_a_living_training(folder: Path) -> None:
    process = training()
    spools.forget(KEY, folder)
    assert len(read_all(folder)) == 1
    process.kill()
    process.communicate()
    spools.forget(KEY, folder)
    assert not list(folder.iterdir())
    spools.forget(KEY, folder)


def test_it_loads_nothing_heavy() -> None:
    code = "import sys, fieldgap.training.journal; print({'mlflow', 'torch', 'pandas', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "set()\n"
