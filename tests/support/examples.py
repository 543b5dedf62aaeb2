"""Example values for the options of parts, so that tests can call every registered part without knowing it."""

from __future__ import annotations

import ast
import inspect
import re
from functools import partial
from typing import Any

from fieldgap.parts.registry import Part, options_of

VALUES = {"bool": True, "int": 2, "float": 0.5, "str": "a"}


def example(option: inspect.Parameter) -> Any:
    """Return a value of an option's annotated type; numbers are ones that lengths, shares and factors can have."""
    annotation = str(option.annotation)
    if names := re.fullmatch(r"(?:typing\.)?Literal\[(.*)\]", annotation):
        return ast.literal_eval(f"({names[1]},)")[0]
    value = VALUES[annotation.removeprefix("tuple[").split(",")[0]]
    return (value,) if annotation.startswith("tuple[") else value


def usable(part: Part) -> Part:
    """Return a part with examples for the options that have no default."""
    required = {name: option for name, option in options_of(part).items() if option.default is option.empty}
    return partial(part, **{name: example(option) for name, option in required.items()})
