"""Values checked against a type, with one message about the first fault: "key: what is wrong; the mend".

What a key allows is put in words from its JSON schema, so that messages, `--help` and editors agree.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from fieldgap.base.errors import InputError
from fieldgap.settings.values import REFUSED

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Schema = dict[str, Any]
UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
KINDS = {
    "array": "a list like [a, b]",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "a block of keys, indented below it",
    "string": "text",
}
LIMITS = {
    "exclusiveMinimum": "above {}",
    "minimum": "{} or more",
    "exclusiveMaximum": "below {}",
    "maximum": "at most {}",
}


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


@functools.cache
def schema_of(kind: Any) -> Schema:
    """Return the JSON schema of a type. No key has a title, which would repeat its name, and none is required."""
    from pydantic.json_schema import GenerateJsonSchema

    class Plain(GenerateJsonSchema):
        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

        def field_is_required(self, field: Any, total: bool) -> bool:
            return False

    return _adapter(kind).json_schema(schema_generator=Plain)


def nearest(name: object, known: Iterable[str]) -> str:
    """Return " (did you mean ...?)", or "" if no known name is similar."""
    spelt = {word.casefold(): word for word in known}
    close = difflib.get_close_matches(str(name).casefold(), spelt, n=1)
    return f" (did you mean {spelt[close[0]]}?)" if close else ""


def allowed(schema: Schema) -> str:
    """Return in words what a value may be."""
    if "errorMessage" in schema:
        return str(schema["errorMessage"])
    if "anyOf" in schema:
        return ", or ".join(map(allowed, schema["anyOf"]))
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        *names, last = schema["enum"]
        return f"{', '.join(names)} or {last}"
    limits = " and ".join(words.format(schema[name]) for name, words in LIMITS.items() if name in schema)
    return f"{KINDS[schema['type']]}{limits and f', {limits}'}"


def meaning(schema: Schema) -> str:
    """Return the description of a key and, unless any value of its type is allowed, what is allowed."""
    words = allowed(schema)
    return f"{schema['description']}{'' if words in KINDS.values() else f' ({words})'}"


def _located(schema: Schema, loc: tuple[int | str, ...]) -> tuple[list[str], Schema]:
    """Return the path of keys to a fault and the schema there. The end of `loc` may be pydantic's names of types."""
    path, blocks = [], schema.get("$defs", {})
    for name in loc:
        if isinstance(name, int) and "items" in schema:
            schema = schema["items"]
        elif inner := schema.get("properties", {}).get(name) or schema.get("additionalProperties"):
            schema = blocks[inner["$ref"].rpartition("/")[2]] if "$ref" in inner else inner
            path.append(str(name))
        else:
            break
    return path, schema


def message(error: ErrorDetails, schema: Schema) -> str:
    """Return what is wrong by pydantic's account, with the key first and the mend last."""
    path, schema = _located(schema, error["loc"])
    key, value = ".".join(path), error["input"]
    if error["type"] == "missing":
        return f"{key}: missing; add it to params.yaml"
    if error["type"] in UNKNOWN:
        known, name = schema["properties"], str(error["loc"][-1])
        key = ".".join([*path, name])
        return f"{key}: no such key{nearest(name, known)}; known: {', '.join(known) or 'none'}"
    if error["type"] == REFUSED:
        return f"{key}: {value!r} {error['msg']}"
    words = allowed(schema)
    return f"{key}: {value!r} is not allowed{nearest(value, re.split(', or |, | or ', words))}; write {words}"


def checked(kind: Any, values: object, where: str = "") -> Any:
    """Return values as an instance of a type; `where` stands before the key in messages.

    Raises:
        InputError: A value is missing, unknown or wrong. Unknown keys come first: a misspelt key is missing too.
    """
    try:
        return _adapter(kind).validate_python(values)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        first = min(faults, key=lambda fault: fault["type"] not in UNKNOWN)
        raise InputError(where + message(first, schema_of(kind))) from None
