"""Example values for the options of parts, so that tests can call every registered part without knowing it."""

from __future__ import annotations

import sys
import typing
from functools import partial
from types import SimpleNamespace
from typing import Any

from fieldgap.parts.registry import Part, options_of

VALUES = {bool: True, int: 2, float: 0.5, str: "a"}  # Numbers are possible as lengths, shares and factors.


def example(kind: Any) -> Any:
    """Return a value of an option's type."""
    if typing.get_origin(kind) is typing.Literal:
        return typing.get_args(kind)[0]
    if typing.get_origin(kind) is tuple:
        return (example(typing.get_args(kind)[0]),)
    return VALUES[kind]


def usable(part: Part) -> Part:
    """Return a part with examples for the options that have no default."""
    required = {name: option.annotation for name, option in options_of(part).items() if option.default is option.empty}
    kinds = typing.get_type_hints(SimpleNamespace(__annotations__=required), vars(sys.modules[part.__module__]))
    return partial(part, **{name: example(kind) for name, kind in kinds.items()})
