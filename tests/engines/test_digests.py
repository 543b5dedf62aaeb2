from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fieldgap.engines import digests
from fieldgap.engines.digests import Digests, memory_of


@pytest.fixture(autouse=True)
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that grows by each file whose bytes are read."""
    monkeypatch.chdir(tmp_path)
    paths: list[Path] = []
    real = digests.digest
    monkeypatch.setattr(digests, "digest", lambda path: (paths.append(path), real(path))[1])
    return paths


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the present be ten seconds later."""
    later = time.time_ns() + 10**10
    monkeypatch.setattr(digests.time, "time_ns", lambda: later)


def test_the_digest_is_the_md5_that_dvc_takes() -> None:
    Path("a").write_bytes(b"content")
    assert Digests().of([Path("a"), Path("none")]) == {Path("a"): hashlib.md5(b"content").hexdigest()}  # noqa: S324


def test_a_settled_file_is_read_once_and_again_when_it_changes(
    read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path("a")
    path.write_bytes(b"one")
    settle(monkeypatch)
    first = Digests().of([path])
    assert Digests().of([path]) == first
    assert len(read) == 1
    at = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert Digests().of([path]) != first, "the time of its entry tells even what was made to look old"


def test_a_young_file_is_read_again(read: list[Path]) -> None:
    Path("a").write_bytes(b"one")
    Digests().of([Path("a")])
    Digests().of([Path("a")])
    assert len(read) == 2
    assert not memory_of(Path()).exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda memory: memory.write_text("{"),
        lambda memory: memory.write_text("[]"),
        lambda memory: memory.write_text('{"a": 7}'),
        lambda memory: memory.write_text('{"a": []}'),
        lambda memory: memory.write_text(memory.read_text().replace('["f', '["/f')),
    ],
)
def test_a_torn_or_edited_memory_is_no_memory(
    read: list[Path], change: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a").write_bytes(b"one")
    settle(monkeypatch)
    first = Digests().of([Path("a")])
    change(memory_of(Path()))
    assert Digests().of([Path("a")]) == first
    assert Digests().of([Path("a")]) == first
    assert len(read) == 2, "what is read replaces the memory"
