"""What MLflow is told of a run or an ablation, as plain data that can wait on disk until a store takes it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldgap.base.files import read_json, write_json


@dataclass(frozen=True)
class Parcel:
    """One MLflow run: `kind` run or ablation, `parent` the key of its ablation or "", times in milliseconds since 1970.

    `rows` are epochs with their `time`; `finals` gives each metric its value and epoch; `files` gives each file its
    folder among the artifacts. `whole` is false for a training that still has to be evaluated. `model` is empty but for
    the champion: the size of its tiles and its classes.
    """

    key: str
    name: str
    kind: str
    parent: str
    status: str
    whole: bool
    restored: bool
    started: int
    ended: int
    note: str
    tags: dict[str, str]
    params: dict[str, str]
    rows: list[dict[str, float]]
    finals: dict[str, tuple[float, int]]
    inputs: list[dict[str, str]]
    files: dict[str, str]
    model: dict[str, Any]

    def digest(self) -> str:
        """-> a digest of all that a store keeps: what was delivered with it needs no second delivery.

        When it came, and from which commit it was recorded, does not count.
        """
        told = dataclasses.asdict(self)
        for moving in ("started", "ended", "rows", "restored", "files"):
            del told[moving]
        told["tags"] = {name: value for name, value in self.tags.items() if name not in ("code_version", "current")}
        told["files"] = {
            f"{folder}/{Path(path).name}": hashlib.sha256(Path(path).read_bytes()).hexdigest()
            for path, folder in self.files.items()
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def keep(parcel: Parcel, folder: Path) -> None:
    """Lays a parcel into `folder`/<key>/ until a store takes it; its files are linked where the disk can."""
    place = folder / parcel.key
    shutil.rmtree(place, ignore_errors=True)
    files = {}
    for path, below in parcel.files.items():
        target = place / "files" / below / Path(path).name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except OSError:
            shutil.copy(path, target)
        files[target.relative_to(place).as_posix()] = below
    write_json(place / "parcel.json", {**dataclasses.asdict(parcel), "files": files})


def kept(folder: Path) -> Iterator[Parcel]:
    """Yields the parcels that wait in a folder, ablations first, so that runs find their parent."""
    waiting = [(read_json(path), path.parent) for path in sorted(folder.glob("*/parcel.json"))]
    for told, place in sorted(waiting, key=lambda each: each[0]["kind"]):
        files = {str(place / path): below for path, below in told["files"].items()}
        finals = {name: (value, epoch) for name, (value, epoch) in told["finals"].items()}
        try:
            yield Parcel(**{**told, "files": files, "finals": finals})
        except TypeError:
            print(f"{place}: was kept by another version of fieldgap; record it with that one", file=sys.stderr)


def forget(key: str, folder: Path) -> None:
    """Removes a parcel that a store took."""
    shutil.rmtree(folder / key, ignore_errors=True)
