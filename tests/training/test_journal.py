from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fieldgap.base import locks, names
from fieldgap.tracking import spools
from fieldgap.tracking.spools import read, read_all
from fieldgap.training.journal import Spool, spooling

KEY = "0123abcd" * 8
# A training in a process of its own: it writes two epochs, says so, and waits to be killed.
TRAINING = f"""
import time
from fieldgap.training.journal import Spool
spool = Spool("{KEY}", "a-0", {{"seed": 0}}, [])
for epoch in (1, 2):
    spool.epoch({{"epoch": epoch, "running_loss": 1 / epoch}})
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


def test_what_is_written_is_read(folder: Path) -> None:
    before = int(time.time() * 1000)
    with spooling(KEY, "a-0", {"seed": 0, "options": {"SGD": {"momentum": 0.9}}}, []) as spool:
        spool.epoch({"epoch": 1, "val_iou": 0.1 + 0.2})
        running = read(folder / f"{KEY}.jsonl")
        assert running
        assert running.status == "running"
        spool.end("diverged")
    ended = read(folder / f"{KEY}.jsonl")
    assert ended
    assert (ended.key, ended.run, ended.status) == (KEY, "a-0", "diverged")
    assert ended.config == {"seed": 0, "options": {"SGD": {"momentum": 0.9}}}
    assert [(row["epoch"], row["val_iou"]) for row in ended.rows] == [(1, 0.1 + 0.2)]
    assert before <= ended.started <= ended.rows[0]["time"] <= ended.ended <= time.time() * 1000
    assert [path.name for path in folder.iterdir()] == [f"{KEY}.jsonl"]


def test_a_training_that_stops_without_an_end_was_killed(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), spooling(KEY, "a-0", {"seed": 0}, []):
        raise KeyboardInterrupt
    assert [spool.status for spool in read_all(folder)] == ["killed"]
    assert [path.name for path in folder.iterdir()] == [f"{KEY}.jsonl"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_training_does_not_count_as_running(folder: Path, number: signal.Signals) -> None:
    process = training()
    assert [spool.status for spool in read_all(folder)] == ["running"]
    process.send_signal(number)
    process.communicate()
    assert [spool.status for spool in read_all(folder)] == ["killed"]


def test_a_resumed_training_goes_on_in_the_same_spool(folder: Path) -> None:
    """The killed training had written epoch 2 and torn epoch 3; the resumed one begins again at epoch 2."""
    process = training()
    process.kill()
    process.communicate()
    path = folder / f"{KEY}.jsonl"
    first = read(path)
    assert first
    with path.open("a") as file:
        file.write('{"time": 5, "row": {"epoch": 3, "runn')
    with spooling(KEY, "a-0", {"seed": 0}, [{"epoch": 1, "running_loss": 9.0}]) as spool:
        for epoch in (2, 3):
            spool.epoch({"epoch": epoch, "running_loss": 9.0})
        spool.end("finished")
    whole = read(path)
    assert whole
    assert whole.status == "finished"
    assert whole.rows[:2] == first.rows
    assert [row["running_loss"] for row in whole.rows] == [1.0, 0.5, 9.0]
    assert whole.started == first.started


def test_a_second_training_of_the_same_run_leaves_the_spool_to_the_first(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = training()
    before = (folder / f"{KEY}.jsonl").read_bytes()
    with spooling(KEY, "a-0", {"seed": 0}, []) as spool:
        spool.epoch({"epoch": 1, "running_loss": 3.0})
        spool.end("finished")
    assert locks.held(folder / f"{KEY}.lock")
    assert (folder / f"{KEY}.jsonl").read_bytes() == before
    assert capsys.readouterr().err.count("another process trains the same run") == 1
    process.kill()
    process.communicate()


FULL = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
from fieldgap.training.journal import Spool
spool = Spool("{KEY}", "a-0", {{"seed": 0}}, [])
for epoch in range(9):
    spool.epoch({{"epoch": epoch, "running_loss": 1.0}})
spool.end("finished")
"""


def test_a_full_disk_is_said_once_and_never_raised(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=True)
    assert done.stderr.count("\n") == 1
    assert "File too large; MLflow will see this run at its end" in done.stderr
    spool = read(folder / f"{KEY}.jsonl")
    assert spool
    assert 0 < len(spool.rows) < 9
    assert spool.status == "killed"


def test_without_a_folder_the_training_goes_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.parent.touch()
    Spool(KEY, "a-0", {"seed": 0}, []).epoch({"epoch": 1})
    assert capsys.readouterr().err.count("MLflow will see this run at its end") == 1


def test_a_spool_without_a_start_is_passed_over(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / f"{KEY}.jsonl").write_text('{"time": 1, "ru')
    (folder / f"{'0' * 64}.jsonl").touch()
    assert read_all(folder) == []


def test_the_spool_of_a_running_training_is_not_removed(folder: Path) -> None:
    process = training()
    spools.remove(KEY, folder)
    assert len(read_all(folder)) == 1
    process.kill()
    process.communicate()
    spools.remove(KEY, folder)
    assert not list(folder.iterdir())
    spools.remove(KEY, folder)


def test_it_loads_nothing_heavy() -> None:
    code = "import sys, fieldgap.training.journal; print({'mlflow', 'torch', 'pandas', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "set()\n"
