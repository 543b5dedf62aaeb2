"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fieldgap.base.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary neighbour of `path` to write to; renames it onto `path` at the end, or removes it on error.

    Raises InputError when the disk is full or may not be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        draft.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); make room or mend its rights") from None
    finally:
        with suppress(OSError):  # Where nothing can be written there is nothing to remove.
            draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """-> the object in a JSON file. Raises InputError when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); run the stage that makes it again") from None


def write_rows(path: Path, rows: Iterable[Mapping[str, object]], columns: Sequence[str] = ()) -> None:
    """Writes rows of equal keys as CSV; floats in their shortest exact form. Without `columns`, there must be a row."""
    rows = list(rows)
    with replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns or list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """-> the rows of a CSV file. Raises InputError when it is missing or broken."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); run the stage that makes it again") from None


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yields what whole lines hold; one that a kill or a full disk tore is passed over."""
    for text in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            yield json.loads(text)
