from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, run_training
from killed import made
from processes import command, started, under_way, wait_until

from fieldgap.base import locks
from fieldgap.base.errors import InputError
from fieldgap.cli import main
from fieldgap.training import process, train
from fieldgap.training.process import claimed

OUT, LOCK = Path("runs/one"), Path(".fieldgap/state/runs/one.lock")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def undisturbed(tiles: Path) -> dict[str, bytes]:
    """Return the files of a run that nothing disturbs."""
    assert main(command(tiles, Path("runs/whole"))[2:]) == 0
    return made(Path("runs/whole"))


def test_a_run_has_one_owner_and_its_lock_leaves_no_file() -> None:
    with claimed(OUT, LOCK):
        assert locks.owner(LOCK) == str(os.getpid())
        assert locks.take(LOCK) is None
    assert not LOCK.exists()


def test_a_run_that_another_process_trains_is_refused_after_a_while(
    tiles: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(process, "WAIT_SECONDS", 0.2)
    owner = os.getpid()
    with claimed(OUT, LOCK), pytest.raises(InputError, match=f"process {owner} is training this run.*kill {owner}"):
        run_training(tiles, OUT, TINY)
    assert capsys.readouterr().err == f"{OUT}: waiting for process {owner}, which is training this run\n"
    assert made() == {}


def test_two_processes_on_one_run_take_turns(tiles: Path) -> None:
    processes = [started(command(tiles, OUT)) for _ in range(2)]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert made(OUT) == undisturbed(tiles)


def test_where_nothing_can_be_written_no_time_is_spent(tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "fit", lambda *_: pytest.fail("trained in vain"))
    Path("runs").write_text("a file, no folder")
    with pytest.raises(InputError, match=r"runs/one: cannot be written \(.*\); check free space and permissions"):
        run_training(tiles, OUT, TINY)
    shutil.rmtree(".fieldgap")
    Path(".fieldgap").write_text("a file, no folder")
    with pytest.raises(InputError, match=r"\.fieldgap/state/runs: cannot be written"):
        run_training(tiles, OUT, TINY)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_after_the_step_and_the_run_goes_on(
    tiles: Path, number: int, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original, outside = train.step, signal.getsignal(number)

    def asked(run: Any, *args: Any) -> float:
        if len(run.steps) == 4:
            os.kill(os.getpid(), number)
        return original(run, *args)

    argv = command(tiles, OUT)[2:]
    with monkeypatch.context() as patch:
        patch.setattr(train, "step", asked)
        assert main(argv) == status
    name = signal.Signals(number).name
    message = f"fieldgap train: stopped by {name} at step 5; the same command goes on from there\n"
    assert capsys.readouterr().err == message
    assert signal.getsignal(number) == outside
    assert made() == {}
    assert main(argv) == 0
    assert "goes on after step 5\n" in capsys.readouterr().out
    assert made(OUT) == undisturbed(tiles)


def test_a_second_signal_ends_at_once(tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deaf(*_: Any) -> float:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(
                0.5
            )  # Two signals that are pending at once count as one, and a handler runs some time after its signal.
        pytest.fail("went on")

    monkeypatch.setattr(train, "step", deaf)
    outside = signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell ignores it for background jobs.
    try:
        assert main(command(tiles, OUT)[2:]) == 130
    finally:
        signal.signal(signal.SIGINT, outside)


def test_a_stage_ends_with_its_engine_behind_a_shell(tiles: Path) -> None:
    """A stand-in with an engine's name is killed with -9. Its shell lives on, its training does not."""
    arguments = " ".join(command(tiles, OUT, epochs=2000))
    Path("dvc").write_text(f"import os\nos.system('{sys.executable} {arguments} 2>errors; echo $? >status; sleep 1')\n")
    engine = started(["dvc"])
    wait_until(under_way)
    engine.kill()
    engine.communicate()
    wait_until(Path("status").exists)
    wait_until(lambda: Path("status").read_text())
    assert Path("status").read_text() == "143\n"
    assert "stopped by SIGTERM at step" in Path("errors").read_text()
    assert made() == {}


def test_without_an_engine_a_stage_outlives_its_parent(tiles: Path) -> None:
    """As under nohup."""
    arguments = " ".join(command(tiles, OUT, epochs=20))
    Path("own.py").write_text(f"import os\nos.system('{sys.executable} {arguments} 2>errors; echo $? >status')\n")
    parent = started(["own.py"])
    wait_until(under_way)
    parent.kill()
    parent.communicate()
    wait_until(lambda: Path("status").exists() and Path("status").read_text())
    assert Path("status").read_text() == "0\n"
