"""Text and YAML to typed values: one way for params.yaml, whichever dialect read it, and for the command line."""

from __future__ import annotations

import ast
import difflib
import inspect
import math
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from fieldgap.base.errors import InputError
from fieldgap.parts.registry import Options, Part, find, options_of

Value = bool | int | float | str
KINDS: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str}


def nearest(name: object, known: Iterable[str]) -> str:
    """-> " (did you mean ...?)", or nothing when no known name is near."""
    spelt = {each.casefold(): each for each in known}
    close = difflib.get_close_matches(str(name).casefold(), spelt, n=1)
    return f" (did you mean {spelt[close[0]]}?)" if close else ""


def convert(key: str, value: object, kind: type) -> Value:
    """-> value as `kind`; YAML dialects differ on 1e-3, so numbers may arrive as text. Raises InputError."""
    try:
        if kind is bool:
            return {"true": True, "false": False}[str(value).lower()]
        if isinstance(value, bool | list | dict | None) or (kind is int and isinstance(value, float)):
            raise ValueError
        result = kind(value)
        if isinstance(result, float) and not math.isfinite(result):
            raise ValueError
        if isinstance(result, str) and not result.isprintable():
            raise InputError(f"{key}: {value!r} holds a character that does not print; remove it")
    except (KeyError, ValueError):
        wanted = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[kind]
        raise InputError(f"{key}: {value!r} is not {wanted}") from None
    return typing.cast(Value, result)


def convert_options(key: str, value: object) -> Any:
    """-> the options of parts by name, not yet typed: their parts do that. Raises InputError for another shape."""
    if not isinstance(value, Mapping) or not all(isinstance(options, Mapping) for options in value.values()):
        raise InputError(f"{key}: {value!r} is not a block like {{polynomial: {{power: 2}}}}, or {{}} for none")
    return value


def convert_lists(key: str, value: object) -> Any:
    """-> lists of text by name. Raises InputError for another shape."""
    if not isinstance(value, Mapping):
        raise InputError(f"{key}: {value!r} is not a block like {{farmland: [255]}}, or {{}} for none")
    return {str(name): convert_option(f"{key}.{name}", each, "tuple[str, ...]") for name, each in value.items()}


def convert_option(key: str, value: object, annotation: object) -> Any:
    """-> one option as its annotation has it: int, float, bool, str or a tuple of one of them. Raises InputError."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    if names := re.fullmatch(r"(?:typing\.)?Literal\[(.*)\]", text):
        known = ast.literal_eval(f"({names[1]},)")
        if value not in known and value not in [[name] for name in known]:
            raise InputError(f"{key}: {value!r} is unknown{nearest(value, known)}; known: {', '.join(known)}")
        text = "str"
    many, kind = text.startswith("tuple["), KINDS.get(text.removeprefix("tuple[").split(",")[0])
    if kind is None:
        raise InputError(f"{key}: is annotated as {text}; use {', '.join(KINDS)} or tuple[..., ...] of one")
    values = list(value) if isinstance(value, list | tuple) else [value]
    if not many and len(values) != 1:
        raise InputError(f"{key}: {value!r} is a list; write one value")
    typed = tuple(convert(key, each, kind) for each in values)
    return typed if many else typed[0]


def literal(value: Any) -> Any:
    """-> an option of a torch optimiser, whose own signature types it: numbers and truth values out of text."""
    if isinstance(value, list | tuple):
        typed = tuple(literal(each) for each in value)
        return typed if len(typed) > 1 else typed[0]
    for kind in (bool, int, float):
        try:
            return convert("", value, kind)
        except InputError:
            continue
    return value


def resolved_options(registry: Mapping[str, Part], name: str, options: Options) -> dict[str, Any]:
    """-> all options of a part, given or by default. Raises InputError for an unknown, missing or ill-typed one."""
    given, known = options.get(name, {}), options_of(find(registry, name))
    for key in given:
        if key not in known:
            listed = ", ".join(known) or "none"
            raise InputError(f"options.{name}.{key}: no such option{nearest(key, known)}; known: {listed}")
    for key, each in known.items():
        if key not in given and each.default is each.empty:
            raise InputError(f"options.{name}.{key}: missing; {name} needs it, add it below train.options.{name}")
    return {
        key: convert_option(f"options.{name}.{key}", given[key], each.annotation) if key in given else each.default
        for key, each in known.items()
    }
