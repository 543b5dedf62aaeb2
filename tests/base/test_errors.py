"""What the system refuses is one sentence of the command line, whichever library meets it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from processes import command

from fieldgap.base.errors import refused_by_system


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EIO", "EROFS", "EACCES", "EMFILE", "ENAMETOOLONG"])
def test_an_error_of_a_disk_names_the_file(name: str) -> None:
    number = getattr(errno, name)
    error = refused_by_system(OSError(number, os.strerror(number), "reports/index.html"))
    expected = f"reports/index.html: cannot be used ({os.strerror(number)}); check free space and permissions"
    assert str(error) == expected


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 8.00 GiB for an array with shape (1073741824,) and data type float64"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_no_memory_is_one_sentence(error: Exception) -> None:
    refused = str(refused_by_system(error))
    assert refused.startswith("memory: the system gave no more")
    assert refused.endswith("; end other programs, or raise the limit: ulimit -v")


@pytest.mark.parametrize("error", [RuntimeError("shapes"), KeyError("x"), FileNotFoundError(2, "No", "x")])
def test_other_errors_are_not_the_systems(error: Exception) -> None:
    assert refused_by_system(error) is None


LIMITED = """
import resource, sys
from fieldgap import cli
from fieldgap.training import train
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(cli.main(sys.argv[4:]))
"""


@pytest.mark.parametrize("room", [2**20, 2**24])
def test_a_training_out_of_address_space_ends_with_one_sentence(tiles: Path, tmp_path: Path, room: int) -> None:
    """Whether threads or tensors find no room first depends on how much there is."""
    words = command(tiles, tmp_path / "one", width=64, depth=4, batch_size=8)
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    options: dict[str, Any] = {"cwd": tmp_path, "env": env, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", LIMITED, str(room), *words], check=False, **options)
    lines = [line for line in done.stderr.splitlines() if line.startswith("fieldgap train: ")]
    assert done.returncode == 1, done.stderr
    assert len(lines) == 1
    assert lines[0].startswith("fieldgap train: memory: the system gave no more")
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "one").glob(".*"))
