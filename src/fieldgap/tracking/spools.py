"""Spools, which trainings write while they run, read back so that MLflow can show those trainings."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Required

from pydantic import AfterValidator, TypeAdapter
from typing_extensions import TypedDict

from fieldgap.base import locks, names, untrusted
from fieldgap.base.files import read_json_lines
from fieldgap.tracking.unfit import Config, Name, Row, Status, Time, set_aside


@dataclass(frozen=True)
class Spool:
    """What one spool says. Times are in milliseconds since 1970.

    Attributes:
        rows: One per epoch, in order, with `epoch` and `time` beside the columns of history.csv.
        status: running, finished, diverged or killed. Killed means that the spool has no end and its lock is free.
    """

    key: str
    run: str
    config: Config
    rows: list[dict[str, float]]
    status: Status
    started: int
    ended: int


class _Line(TypedDict, total=False):
    time: Required[Time]
    run: Name
    config: Config
    row: dict[str, float]
    end: Literal["finished", "diverged"]


def _told(line: _Line) -> _Line:
    if not ("row" in line or "end" in line or {"run", "config"} <= line.keys()):
        raise ValueError("a line tells nothing of a training")
    return line


@functools.cache
def _lines() -> TypeAdapter[list[_Line]]:
    return TypeAdapter(list[Annotated[_Line, AfterValidator(_told)]])


@functools.cache
def _rows() -> TypeAdapter[list[Row]]:
    return TypeAdapter(list[Row])


def read(path: Path) -> Spool | None:
    """Return a spool, or None while its first line is not written yet.

    A resumed training may repeat epochs; the first row of each counts.

    Raises:
        ValueError: It holds what no training writes, or its name is not a key.
    """
    alive, records = locks.held(names.lock_of(path)), list(read_json_lines(path))
    key, lines = untrusted.key(path.stem), _lines().validate_python(records)
    starts = [line for line in lines if "config" in line and "run" in line]
    if not starts:
        return None
    found = [{**line["row"], "time": line["time"]} for line in lines if "row" in line]
    rows = {row["epoch"]: row for row in reversed(_rows().validate_python(found))}
    return Spool(
        key=key,
        run=starts[-1]["run"],
        config=starts[-1]["config"],
        rows=[rows[epoch] for epoch in sorted(rows)],
        status=lines[-1].get("end") or ("running" if alive else "killed"),
        started=starts[0]["time"],
        ended=lines[-1]["time"],
    )


def read_all(folder: Path) -> list[Spool]:
    """Return the spools of a folder, sorted by key, and set aside what is none.

    A file that is removed meanwhile is skipped.
    """
    spools = []
    for path in sorted(folder.glob("*.jsonl")):
        try:
            spools.append(read(path))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            set_aside(path, error)
    return [spool for spool in spools if spool]


def remove(key: str, folder: Path) -> None:
    """Remove a spool, unless its training is still running. One that stays is read again, which does no harm."""
    path = folder / f"{untrusted.key(key)}.jsonl"
    with contextlib.suppress(OSError):
        if path.exists() and (lock := locks.take(names.lock_of(path))):
            path.unlink(missing_ok=True)
            locks.discard(lock)
