"""The digests of files, remembered by size, times and inode, so that what has not changed is not read again.

They are MD5, like DVC's, so that both name a result's bytes alike; against attackers neither would help.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from fieldgap.base.files import write_text

FOLDER = Path(".fieldgap/digests")
SETTLED_NS = 2_000_000_000  # A file as young as this may change again without another time stamp.

Stamp = list[int]


def digest(path: Path) -> str:
    """-> the MD5 of a file's bytes, read in pieces. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def digest_of_folder(folder: Path, files: Mapping[Path, str]) -> str:
    """Return the digest that DVC gives a folder which holds these files with these digests."""
    names = {path.relative_to(folder).as_posix(): md5 for path, md5 in files.items()}
    listed = json.dumps([{"md5": names[name], "relpath": name} for name in sorted(names)])
    return f"{hashlib.md5(listed.encode(), usedforsecurity=False).hexdigest()}.dir"


def stamp(path: Path) -> Stamp:
    """-> what changes when a file does: size, times of content and entry in ns, inode. Raises OSError."""
    info = os.stat(path)  # noqa: PTH116 - a hundred thousand of them are asked for, and Path.stat is slower.
    return [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino]


def memory_of(folder: Path) -> Path:
    return FOLDER / f"{hashlib.sha256(str(folder).encode()).hexdigest()[:24]}.json"


def load(memory: Path) -> dict[str, tuple[str, Stamp]]:
    """-> name -> digest and stamp of a folder's files; nothing where the memory is missing or torn."""
    with suppress(OSError, ValueError):
        return json.loads(memory.read_bytes())
    return {}


class Digests:
    """Asks for digests. It lasts as long as one question, since files go on changing."""

    def __init__(self) -> None:
        self.known: dict[Path, dict[str, tuple[str, Stamp]]] = {}

    def within(self, folder: Path, names: Iterable[str]) -> dict[str, str]:
        """-> the digests of a folder's files, without those that cannot be read; what was new is remembered."""
        if (known := self.known.get(folder)) is None:
            known = self.known[folder] = load(memory_of(folder))
        found, learnt = {}, False
        for name in names:
            with suppress(OSError):
                now, path = time.time_ns(), folder / name
                at = stamp(path)
                if name in known and known[name][1] == at:
                    found[name] = known[name][0]
                    continue
                found[name] = digest(path)
                if now - max(at[1:3]) > SETTLED_NS and at == stamp(path):
                    known[name], learnt = (found[name], at), True
        if learnt:
            write_text(memory_of(folder), json.dumps(known))
        return found

    def of(self, paths: Iterable[Path]) -> dict[Path, str]:
        """-> the digests of files, without those that cannot be read."""
        folders: dict[Path, list[str]] = defaultdict(list)
        for path in paths:
            folders[path.parent].append(path.name)
        return {
            folder / name: each
            for folder, names in folders.items()
            for name, each in self.within(folder, names).items()
        }
