"""The outbox: entries on disk, waiting until a store accepts them. An entry is plain data, so it needs no MLflow."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from fieldgap.base import untrusted
from fieldgap.base.files import write_text
from fieldgap.tracking.shipped import Model
from fieldgap.tracking.unfit import Dataset, Folder, Key, Name, Row, Status, Time, Word, set_aside

NAME = "entry.json"


@dataclass(frozen=True)
class Entry:
    """What MLflow is told of one run or one ablation.

    Attributes:
        key: Key of the run or ablation; at most one MLflow run has it.
        kind: "run" or "ablation".
        complete: Whether the results are final. False for a training that is not evaluated yet.
        started: Milliseconds since 1970, like `ended`.
        parent: Key of the run's ablation, or "".
        restored: Whether the files came from a cache, so that no training of them was seen here.
        rows: One per epoch, with `epoch` and `time` beside the columns of history.csv.
        finals: Value and epoch of each metric of a whole split.
        inputs: The data sets, as `datasets.datasets` returns them.
        files: Paths of the artifacts, each with its folder among the artifacts.
        model: None, but for the best run of an ablation.
    """

    key: Key
    name: Name
    kind: Literal["run", "ablation"]
    status: Status
    complete: bool
    started: Time
    ended: Time
    tags: dict[Word, str]
    params: dict[Word, str]
    parent: Literal[""] | Key = ""
    restored: bool = False
    note: str = ""
    rows: list[Row] = field(default_factory=list)
    finals: dict[Word, tuple[float, int]] = field(default_factory=dict)
    inputs: list[Dataset] = field(default_factory=list)
    files: dict[str, Folder] = field(default_factory=dict)
    model: Model | None = None

    def digest(self) -> str:
        """Return a digest of the content, by which a store recognises an entry that it already has.

        Times, the commit, and whether the entry is current or restored are left out: they change between two records
        of the same results.
        """
        content = dataclasses.asdict(self)
        for name in ("started", "ended", "rows", "restored", "files"):
            del content[name]
        content["tags"] = {name: value for name, value in self.tags.items() if name not in ("code_version", "current")}
        content["files"] = {
            f"{folder}/{Path(path).name}": hashlib.sha256(Path(path).read_bytes()).hexdigest()
            for path, folder in self.files.items()
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


_FIELDS = {each.name for each in dataclasses.fields(Entry)}


@functools.cache
def _adapter() -> TypeAdapter[Entry]:
    return TypeAdapter(Entry)


def save(entry: Entry, outbox: Path) -> None:
    """Write an entry and its files to `outbox`/<key>/. Files are hard links where the disk allows it.

    An entry that is there already is replaced as a whole or, where that fails, stays as it is.
    """
    folder = outbox / untrusted.key(entry.key)
    content = folder / f"files.{time.time_ns()}"
    try:
        content.mkdir(parents=True)
        files = {_kept(Path(path), content / below, folder): below for path, below in entry.files.items()}
        fields = {**dataclasses.asdict(entry), "files": files}
        write_text(folder / NAME, json.dumps(fields, indent=2, ensure_ascii=False) + "\n")
    except BaseException:
        shutil.rmtree(content, ignore_errors=True)
        with contextlib.suppress(OSError):  # It is empty unless the entry was there before.
            folder.rmdir()
        raise
    for earlier in folder.glob("files*"):
        if earlier != content:
            shutil.rmtree(earlier, ignore_errors=True)


def _kept(path: Path, below: Path, folder: Path) -> str:
    """Link or copy a file, and return where it is, relative to the entry's folder."""
    below.mkdir(parents=True, exist_ok=True)
    target = below / path.name
    try:
        os.link(path.resolve(), target)  # Of a link into a cache, the file behind it.
    except OSError:
        shutil.copy(path, target)
    return target.relative_to(folder).as_posix()


def load(outbox: Path) -> list[Entry]:
    """Return the entries that wait, ablations first, since a run needs its parent to be in the store.

    What is no entry is set aside. An entry with other fields, saved by another version, is reported on stderr and left
    where it is.
    """
    found = [_read(path) for path in sorted(outbox.glob(f"*/{NAME}"))]
    return sorted((entry for entry in found if entry), key=lambda entry: entry.kind)


def _read(path: Path) -> Entry | None:
    folder = path.parent
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(fields, dict) and not fields.keys() <= _FIELDS:
            print(f"{folder}: was saved by another version of fieldgap; record it with that version", file=sys.stderr)
            return None
        entry = _adapter().validate_python(fields)
        if folder.name != entry.key:
            raise ValueError("its folder has not the name of its key")
        files = {str(untrusted.inside(folder, name)): below for name, below in entry.files.items()}
        return dataclasses.replace(entry, files=files)
    except FileNotFoundError:  # Another process delivered it meanwhile.
        return None
    except (OSError, ValueError, RecursionError) as error:
        set_aside(path, error)
        return None


def remove(key: str, outbox: Path) -> None:
    """Remove an entry that a store accepted."""
    shutil.rmtree(outbox / untrusted.key(key), ignore_errors=True)
