"""The types of values.

The trap: YAML dialects differ, and every flag is text. PyYAML reads 1e-3 as text where DVC's reader sees a number. So a
type accepts its values also as text, and nothing else: true is not a number, and 2.0 not a whole one, since 2.0 names
another run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, GetPydanticSchema, WithJsonSchema, with_config
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

Value = bool | int | float | str
REFUSED = "refused"
Item = TypeVar("Item")
CONFIG = ConfigDict(extra="forbid", regex_engine="python-re", defer_build=True)


def refused(reason: str) -> PydanticCustomError:
    """Return the error of a value that has the right type but cannot be used; `reason` follows the value."""
    return PydanticCustomError(REFUSED, "{reason}", {"reason": reason})


def _text(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and not value.isprintable():
        raise refused("contains a character that does not print; remove it")
    return value


def _from_text(read: Callable[[str], object]) -> BeforeValidator:
    return BeforeValidator(lambda value: read(value) if isinstance(value, str) else value)


def _check_group(group: str) -> str:
    kind, _, detail = group.partition(":")
    try:
        if (kind == "stem" and not re.compile(detail)) or (kind == "block" and not float(detail) > 0):
            raise ValueError("a block has a size above 0")
    except (re.error, ValueError) as error:
        raise refused(f"cannot be used ({error})") from None
    return group


def _check_scale(scale: str) -> str:
    kind, low, high = scale.split(":")
    if not float(low) < float(high):
        raise refused("is not a range; LOW must be below HIGH")
    if kind == "percentiles" and (float(low) < 0 or float(high) > 100):
        raise refused("is not a range; LOW must be at least 0 and HIGH at most 100")
    return scale


def in_words(rule: str, **field: Any) -> Any:
    """Return a field whose rule is put in words, for messages, help and editors."""
    return Field(json_schema_extra={"errorMessage": rule}, **field)


_TEXT = BeforeValidator(_text)
_LIST = BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,))
Truth = Annotated[
    bool, Field(strict=True), _from_text(lambda text: {"true": True, "false": False}.get(text.lower(), text))
]
Whole = Annotated[int, Field(strict=True), _from_text(int)]
Natural = Annotated[int, Field(strict=True, ge=0), _from_text(int)]
Positive = Annotated[int, Field(strict=True, ge=1), _from_text(int)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False), _from_text(float)]
Share = Annotated[float, Field(strict=True, gt=0, lt=1), _from_text(float)]
Text = Annotated[str, Field(strict=True), _TEXT]
Many = Annotated[tuple[Item, ...], _LIST]

Bands = Annotated[tuple[Positive, ...], in_words("a list of band numbers from 1", min_length=1), _LIST]
Folds = Annotated[
    Annotated[int, Field(strict=True, ge=0, le=0)] | Annotated[int, Field(strict=True, ge=2)],
    in_words("0, or 2 or more"),
    _from_text(int),
]
MaskValue = Annotated[
    Text, WithJsonSchema({"type": ["integer", "string"], "errorMessage": "a mask value such as 255 or '#ff0000'"})
]
Name = Annotated[
    str,
    in_words("a name of at most 250 characters, with no space at its ends", max_length=250, pattern=r"^\S(.*\S)?$"),
    _TEXT,
]
Own = Annotated[str, in_words("package.module:function", pattern=":"), _TEXT]
Sum = Annotated[str, in_words("a sum such as 0.5*dice+focal", pattern="[:+*]"), _TEXT]
_FORGETFUL = r"sqlite:///?(:memory:)?(\?|$)"  # SQLite without a file.
Uri = Annotated[str, in_words("a tracking URI such as sqlite:///mlflow.db", pattern=rf"^(?!{_FORGETFUL})[^:]*:"), _TEXT]
Pattern = Annotated[
    str,
    in_words("a file name with {stem} in it once", pattern=r"^(?!.*\{stem\}.*\{stem\})[^/]*\{stem\}[^/]*$"),
    _TEXT,
]
Group = Annotated[
    str,
    in_words(
        "scene, stem:REGULAR_EXPRESSION, column:NAME or block:MAP_UNITS", pattern="^(scene$|stem:.|column:.|block:.)"
    ),
    _TEXT,
    AfterValidator(_check_group),
]
Scale = Annotated[
    str,
    in_words("percentiles:LOW:HIGH or limits:LOW:HIGH", pattern=r"^(percentiles|limits)(:-?\d{1,30}(\.\d{1,30})?){2}$"),
    _TEXT,
    AfterValidator(_check_scale),
]


def typed_as(kind: Any) -> GetPydanticSchema:
    """Return a mark that has pydantic check a value as `kind`, a type that is made at run time."""
    return GetPydanticSchema(lambda _, handler: handler(kind))


def one_of(names: Iterable[str], other: Any = None) -> GetPydanticSchema:
    """Return a mark that has pydantic check for one of `names`, or else as the type `other`."""
    words = Literal[tuple(names)]  # type: ignore[valid-type]
    return typed_as(words | other if other else words)


def block_of(name: str, kinds: Mapping[str, Any]) -> Any:
    """Return the type of a block with these keys, any of which may be left out unless its type is Required."""
    block = TypedDict(name, dict(kinds), total=False)  # type: ignore[misc]  # noqa: UP013
    return with_config(CONFIG)(block)
