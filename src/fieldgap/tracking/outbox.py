"""The outbox: entries on disk, waiting until a store accepts them. An entry is plain data, so it needs no MLflow."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fieldgap.base.files import read_json, write_json

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
        model: Empty, but for the champion: the size of its tiles and its classes.
    """

    key: str
    name: str
    kind: str
    status: str
    complete: bool
    started: int
    ended: int
    tags: dict[str, str]
    params: dict[str, str]
    parent: str = ""
    restored: bool = False
    note: str = ""
    rows: list[dict[str, float]] = field(default_factory=list)
    finals: dict[str, tuple[float, int]] = field(default_factory=dict)
    inputs: list[dict[str, str]] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)

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


def save(entry: Entry, outbox: Path) -> None:
    """Write an entry and its files to `outbox`/<key>/. Files are hard links where the disk allows it."""
    folder = outbox / entry.key
    shutil.rmtree(folder, ignore_errors=True)
    files = {}
    for path, below in entry.files.items():
        target = folder / "files" / below / Path(path).name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except OSError:
            shutil.copy(path, target)
        files[target.relative_to(folder).as_posix()] = below
    write_json(folder / NAME, {**dataclasses.asdict(entry), "files": files})


def load(outbox: Path) -> Iterator[Entry]:
    """Yield the entries that wait, ablations first, since a run needs its parent to be in the store.

    An entry with other fields, saved by another version, is reported on stderr and left where it is.
    """
    saved = [(read_json(path), path.parent) for path in sorted(outbox.glob(f"*/{NAME}"))]
    for fields, folder in sorted(saved, key=lambda pair: pair[0]["kind"]):
        files = {str(folder / path): below for path, below in fields["files"].items()}
        finals = {name: (value, epoch) for name, (value, epoch) in fields["finals"].items()}
        try:
            yield Entry(**{**fields, "files": files, "finals": finals})
        except TypeError:
            print(f"{folder}: was saved by another version of fieldgap; record it with that version", file=sys.stderr)


def remove(key: str, outbox: Path) -> None:
    """Remove an entry that a store accepted."""
    shutil.rmtree(outbox / key, ignore_errors=True)
