"""Files that appear whole or not at all, and the JSON and CSV in them."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fieldgap.base.cells import escaped, plain
from fieldgap.base.errors import InputError, unwritable

_DRAFT = re.compile(r"\..+\.([1-9]\d*)\.draft", re.DOTALL)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path` to write to, and rename it onto `path` unless the block fails.

    Raises:
        InputError: The disk is full, or may not be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")  # As _DRAFT and .dvcignore know it.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        draft.replace(path)
    except OSError as error:
        raise unwritable(path, error) from None
    finally:
        with suppress(OSError):  # Where nothing can be written there is nothing to remove.
            draft.unlink(missing_ok=True)


def is_draft(name: str) -> bool:
    """Return whether a file has the name of a draft, ours or DVC's. Drafts never count as files of a folder."""
    return name.startswith(".") and name.endswith((".draft", ".tmp"))


def remove_drafts(folders: Iterable[Path]) -> None:
    """Remove what processes that are gone left of the files that they were writing in some folders."""
    for draft in [path for folder in folders for path in folder.glob(".*.draft")]:
        match = _DRAFT.fullmatch(draft.name)
        if match and not _alive(int(match[1])):
            with suppress(OSError):  # It does no harm.
                draft.unlink()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # Not ours, or no process that could have written it.
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Write a whole text file."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write a whole JSON file, indented. NaN and infinity raise ValueError."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_rows(path: Path, rows: Iterable[Mapping[str, object]], columns: Sequence[str] = ()) -> None:
    """Write rows of equal keys as CSV, with floats in their shortest exact form.

    Without `columns`, which are names in order, there must be a row; its keys are the columns.
    """
    rows = list(rows)
    with replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        names = columns or list(rows[0])
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(map(escaped, names))
        writer.writerows([escaped(row[name]) for name in names] for row in rows)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        InputError: The file is missing or broken.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("it holds no object")
        return value
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from None


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file.

    Raises:
        InputError: The file is missing or broken.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                {plain(name): text and plain(text) for name, text in row.items() if name}
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, csv.Error) as error:
        raise _unreadable(path, error) from None


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the object in each line of a file, skipping lines that a kill or a full disk tore."""
    for line in path.read_bytes().splitlines():
        with suppress(ValueError):
            if isinstance(value := json.loads(line), dict):
                yield value


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: cannot be read ({error}); run the stage that makes it again")
