"""The labels of masks: which values mean which class. Light, since the command line and the Snakefile load it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from fieldgap.base.errors import InputError

IGNORE = 255  # The class of pixels that neither loss nor metrics see.


def parse_value(text: str) -> int | tuple[int, int, int]:
    """-> a mask value: a number, or red, green and blue for a colour written #rrggbb. Raises InputError."""
    if colour := re.fullmatch(r"#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})", text.lower()):
        return int(colour[1], 16), int(colour[2], 16), int(colour[3], 16)
    if not re.fullmatch(r"\d{1,5}", text) or int(text) > 65535:
        raise InputError(f"{text!r} is no mask value; write a number up to 65535, or a colour as '#ff0000'")
    return int(text)


def check_labels(classes: Mapping[str, Sequence[str]], ignore: Sequence[str]) -> None:
    """Raises InputError unless each class has a name and values, and each value stands once, all of one kind."""
    if not 2 <= len(classes) <= IGNORE - 1:
        raise InputError(f"data.classes: {len(classes)} classes; name 2 to {IGNORE - 1}, the background first")
    for name, values in classes.items():
        if not re.fullmatch(r"\w+", name):
            raise InputError(f"data.classes.{name}: a class name has letters, digits and _ alone; rename it")
        if not values:
            raise InputError(f"data.classes.{name}: no value; list the mask values of this class")
    seen = [value for values in (*classes.values(), ignore) for value in map(parse_value, values)]
    if twice := [value for value in seen if seen.count(value) > 1]:
        raise InputError(f"data: the mask value {twice[0]} is listed twice; a value has one meaning")
    if len({type(value) for value in seen}) > 1:
        raise InputError("data: numbers and colours are mixed as mask values; write all of them as colours, '#ffffff'")
