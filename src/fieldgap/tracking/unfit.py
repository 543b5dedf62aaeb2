"""What spools and entries may hold, and what becomes of a file that holds anything else.

They come from other machines and from other people, or were damaged on the way. One that does not look as it must is
set aside by name, and the others go on.
"""

from __future__ import annotations

import posixpath
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from fieldgap.base import untrusted

_LIMIT = 2**53  # Whole numbers below it are exact as floats, and fit the columns of every store.
_WORD = re.compile(r"[/\w.\- :]{1,250}")  # MLflow's rule.
_DATASET = {"name", "context", "digest", "source", "profile"}
SUFFIX = ".unfit"


def _name(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError(f"{text!r:.80} is not a name")
    return text


def _config(config: dict[str, Any]) -> dict[str, Any]:
    _check_names(config, "")
    return config


def _check_names(config: dict[str, Any], above: str) -> None:
    for name, value in config.items():
        if isinstance(value, dict):
            _check_names(value, f"{above}{name}_")
        else:
            _word(f"{above}{name}")


def _word(text: str) -> str:
    if not _WORD.fullmatch(text) or posixpath.normpath(text) != text or text.startswith(("/", "..")):
        raise ValueError(f"{text!r:.80} is no name of a parameter or metric")
    return text


def _dataset(fields: dict[str, str]) -> dict[str, str]:
    if missing := _DATASET - fields.keys():
        raise ValueError(f"a data set lacks its {min(missing)}")
    return fields


def _row(row: dict[str, float]) -> dict[str, float]:
    for name in ("epoch", "time"):
        value = row.get(name, -1)
        if not (0 <= value < _LIMIT and value == int(value)):
            raise ValueError(f"a row lacks its {name}")
    return row


Key = Annotated[str, AfterValidator(untrusted.key)]
Name = Annotated[str, AfterValidator(_name)]
Folder = Annotated[str, AfterValidator(lambda text: text and untrusted.relative(text))]
Word = Annotated[str, AfterValidator(_word)]
Config = Annotated[dict[str, Any], AfterValidator(_config)]
Dataset = Annotated[dict[str, str], AfterValidator(_dataset)]
Time = Annotated[int, Field(ge=0, lt=_LIMIT)]
Status = Literal["finished", "diverged", "killed", "running", "left"]
Row = Annotated[dict[Word, float], AfterValidator(_row)]


def set_aside(path: Path, error: Exception) -> None:
    """Rename a file that cannot be used, and say so on stderr. Where it cannot be renamed it is skipped."""
    reason = str(error)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    becomes = "skipped"
    with suppress(OSError):
        becomes = f"set aside as {path.replace(path.with_name(path.name + SUFFIX)).name}"
    print(f"{path}: cannot be used ({' '.join(reason.split())[:200]}) and is {becomes}", file=sys.stderr)
