"""Digests of files, remembered by size, times and inode.

The trap: time stamps say nothing about a file that came from a cache, and reading gigabytes at each start is slow. So
files are compared by digest, and only those whose stamp changed are read. The digests are MD5, like DVC's, so that both
name the same bytes alike; they protect against accidents, not against attackers.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from fieldgap.base import untrusted
from fieldgap.base.errors import InputError
from fieldgap.base.files import write_text

FOLDER = Path(".fieldgap/digests")
SETTLED_NS = 2_000_000_000  # A younger file may change again within the same tick of its time stamp.

Stamp = list[int]


def digest(path: Path) -> str:
    """Return the MD5 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def digest_of_folder(folder: Path, files: Mapping[Path, str]) -> str:
    """Return the digest that DVC gives a folder with these files and their digests."""
    names = {path.relative_to(folder).as_posix(): md5 for path, md5 in files.items()}
    listed = json.dumps([{"md5": names[name], "relpath": name} for name in sorted(names)])
    return f"{hashlib.md5(listed.encode(), usedforsecurity=False).hexdigest()}.dir"


def _stamp(path: Path) -> Stamp:
    """Return what changes when a file does: size, times of content and entry in ns, inode."""
    info = os.stat(path)  # noqa: PTH116 - a hundred thousand of them are asked for, and Path.stat is slower.
    return [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino]


def memory_of(folder: Path) -> Path:
    """Return the file that remembers the digests of a folder's files."""
    return FOLDER / f"{hashlib.sha256(str(folder).encode()).hexdigest()[:24]}.json"


def _load(memory: Path) -> dict[str, tuple[str, Stamp]]:
    """Return the remembered digest and stamp of each file in a folder; nothing if the memory is missing or damaged."""
    with suppress(OSError, ValueError):
        if isinstance(known := json.loads(memory.read_bytes()), dict):
            return known
    return {}


def _recall(known: Mapping[str, tuple[str, Stamp]], name: str, at: Stamp) -> str | None:
    """Return the remembered digest of a file with this stamp."""
    with suppress(KeyError, TypeError, ValueError):  # Not remembered, or someone edited the memory.
        md5, stamp = known[name]
        return untrusted.md5(md5) if stamp == at else None
    return None


def _remember(memory: Path, known: Mapping[str, tuple[str, Stamp]]) -> None:
    try:
        write_text(memory, json.dumps(known))
    except InputError as error:
        _complain(str(error).removeprefix(str(memory)))


@functools.cache  # Once for all folders.
def _complain(why: str) -> None:
    print(f"{FOLDER}{why}; until then, files are read again each time", file=sys.stderr, flush=True)


class Digests:
    """Digests for one question. Ask anew for the next one, since files go on changing."""

    def __init__(self) -> None:
        self.known: dict[Path, dict[str, tuple[str, Stamp]]] = {}

    def within(self, folder: Path, names: Iterable[str]) -> dict[str, str]:
        """Return the digests of files in a folder, by name, without those that cannot be read."""
        if (known := self.known.get(folder)) is None:
            known = self.known[folder] = _load(memory_of(folder))
        found, learnt = {}, False
        for name in names:
            with suppress(OSError):
                now, path = time.time_ns(), folder / name
                at = _stamp(path)
                if md5 := _recall(known, name, at):
                    found[name] = md5
                    continue
                found[name] = digest(path)
                if now - max(at[1:3]) > SETTLED_NS and at == _stamp(path):
                    known[name], learnt = (found[name], at), True
        if learnt:
            _remember(memory_of(folder), known)
        return found

    def of(self, paths: Iterable[Path]) -> dict[Path, str]:
        """Return the digests of files, without those that cannot be read."""
        folders: dict[Path, list[str]] = defaultdict(list)
        for path in paths:
            folders[path.parent].append(path.name)
        return {
            folder / name: each
            for folder, names in folders.items()
            for name, each in self.within(folder, names).items()
        }
