"""Several processes on one run, over gloo on the CPU."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from killed import made
from processes import command, started, under_way, wait_until
from safetensors.torch import load_file

from fieldgap.base.errors import InputError
from fieldgap.base.files import read_json, read_rows
from fieldgap.cli import main
from fieldgap.training import parallel

OUT = Path("runs/one")
VALUES: dict[str, Any] = {"batch_size": 9, "micro_batch": 2, "epochs": 2}
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def shared(tiles: Path, out: Path, processes: int = 2, **values: Any) -> list[str]:
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    return [*launcher, "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", *command(tiles, out, **values)]


def difference(one: Path, other: Path) -> float:
    """Return the largest absolute difference between the weights of two runs."""
    ours, theirs = (load_file(folder / "weights.safetensors") for folder in (one, other))
    assert ours.keys() == theirs.keys()
    return max((ours[name].double() - theirs[name].double()).abs().max().item() for name in ours)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_two_processes_train_what_one_does_but_for_the_order_of_sums(
    tiles: Path, norm: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """28 tiles in batches of 9 make parts of 2, 2, 2, 2 and 1; the last batch is one tile, and one process has none."""
    process = started(shared(tiles, Path("runs/two"), norm=norm, **VALUES))
    errors, shown = process.communicate(timeout=240)[1], capfd.readouterr().out
    assert process.returncode == 0, errors
    assert shown.count("epoch 1/2") == 1
    assert main(command(tiles, Path("runs/one"), norm=norm, **VALUES)[2:]) == 0
    assert 0 < difference(Path("runs/one"), Path("runs/two")) < TOLERANCE
    steps, ours = (read_rows(Path(f"runs/{name}/steps.csv")) for name in ("one", "two"))
    assert [row["lr"] for row in steps] == [row["lr"] for row in ours]
    for one, two in zip(steps, ours, strict=True):
        assert float(two["loss"]) == pytest.approx(float(one["loss"]), rel=TOLERANCE)
    one, two = (read_json(Path(f"runs/{name}/status.json")) for name in ("one", "two"))
    assert one["key"] == two["key"]
    assert [status["machine"]["processes"] for status in (one, two)] == [1, 2]


@pytest.mark.slow
def test_processes_stop_together_and_go_on_to_the_bytes_of_an_undisturbed_run(tiles: Path) -> None:
    values = {**VALUES, "epochs": 30}
    process = started(shared(tiles, OUT, **values), start_new_session=True)
    wait_until(under_way)
    os.killpg(process.pid, signal.SIGTERM)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode != 0
    assert "stopped by SIGTERM at step" in errors
    for out in (OUT, Path("runs/whole")):
        process = started(shared(tiles, out, **values))
        assert process.communicate(timeout=240)[1] is not None
        assert process.returncode == 0
    assert made(OUT) == made(Path("runs/whole"))


def test_more_processes_than_parts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    parallel.check_shares(9, 4)
    with pytest.raises(InputError, match="micro_batch: 5 cuts 9 tiles into fewer parts than there are processes, 3"):
        parallel.check_shares(9, 5)


def test_each_part_falls_to_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    shares = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        shares.append(list(parallel.share(range(7))))
    assert shares == [[0, 3, 6], [1, 4], [2, 5]]


def test_one_process_alone_adds_nothing() -> None:
    tensor = torch.ones(3)
    parallel.add_up([tensor])
    assert tensor.tolist() == [1, 1, 1]
    assert parallel.anywhere(True, tensor.device)
    assert not parallel.anywhere(False, tensor.device)
    assert (parallel.rank(), parallel.size()) == (0, 1)
