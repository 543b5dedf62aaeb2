"""The options of parts, typed by the keyword-only parameters of each part's function."""

from __future__ import annotations

import functools
import sys
import typing
from types import SimpleNamespace
from typing import Annotated, Any, Required

from pydantic import AfterValidator, BeforeValidator, Field

from fieldgap.base import untrusted
from fieldgap.base.errors import InputError
from fieldgap.parts.registry import Options, Part, options_of
from fieldgap.settings.messages import checked
from fieldgap.settings.own import COMPUTED
from fieldgap.settings.values import Many, Number, Text, Truth, Value, Whole, block_of, in_words

TYPES = {bool: Truth, int: Whole, float: Number, str: Text}


def _by_name(options: Options) -> dict[str, dict[str, Any]]:
    """Return options in the order of their names: the user's order has no meaning, but would change a result's key.

    Raises:
        InputError: A name is no word, so that it would be another one as a flag.
    """
    for part, values in options.items():
        for name in values:
            try:
                untrusted.identifier(name)
            except ValueError as error:
                raise InputError(f"options.{part}: {error}; rename the option") from None
    return {part: dict(sorted(values.items())) for part, values in sorted(options.items())}


def _alone(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


# As written, until the part that uses them types them.
Written = Annotated[Value | list[Value], in_words("a number, text, true, false or a list of these")]
Blocks = Annotated[dict[Text, dict[Text, Written]], AfterValidator(_by_name)]
# Torch and segmentation_models_pytorch are too slow to load here, so their options are typed by how they look. On a
# command line, a list of one value looks like that value.
Guess = Annotated[Truth | Whole | Number | Text, Field(union_mode="left_to_right")]
Guesses = dict[str, Annotated[Guess | tuple[Guess, ...], BeforeValidator(_alone)]]


def _lenient(kind: Any) -> Any:
    """Return an annotation with types that read text in place of Python's own."""
    if typing.get_origin(kind) is tuple:
        return Many[_lenient(typing.get_args(kind)[0])]  # type: ignore[misc]
    return TYPES.get(kind, kind)


@functools.cache
def options_type(part: Part) -> Any:
    """Return the type of a part's options. Only their annotations are resolved: the others may name torch."""
    known = options_of(part)
    holder = SimpleNamespace(__annotations__={name: option.annotation for name, option in known.items()})
    hints = typing.get_type_hints(holder, vars(sys.modules[part.__module__]))
    kinds = {name: _lenient(kind) for name, kind in hints.items()}
    return block_of(
        "Options",
        {
            name: Required[kinds[name]] if option.default is option.empty else kinds[name]
            for name, option in known.items()
        },
    )


def resolved(part: Part, name: str, options: Options) -> dict[str, Any]:
    """Return all options of a part, set or by default, but for defaults that only running the user's file would tell.

    Raises:
        InputError: An option is unknown, missing or has a wrong type.
    """
    typed = checked(options_type(part), options.get(name, {}), f"options.{name}.")
    everything = {key: typed.get(key, option.default) for key, option in options_of(part).items()}
    return {key: value for key, value in everything.items() if value is not COMPUTED}


def guessed(name: str, options: Options) -> dict[str, Any]:
    """Return the options of an optimizer or a network."""
    return checked(Guesses, options.get(name, {}), f"options.{name}.")
