"""The labels of masks: which values mean which class. Imports nothing heavy, as every command loads it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from fieldgap.base.errors import InputError

LOWEST, HIGHEST = -32768, 65535  # The numbers that mask values can be.
IGNORE = 255  # The class of pixels that neither losses nor metrics count.


def parse_value(text: str) -> int | tuple[int, int, int]:
    """Return a mask value: a number, or (red, green, blue) for a colour written as #rrggbb.

    Raises:
        InputError: The text is neither.
    """
    if colour := re.fullmatch(r"#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})", text.lower()):
        return int(colour[1], 16), int(colour[2], 16), int(colour[3], 16)
    if not re.fullmatch(r"-?\d{1,5}", text) or not LOWEST <= int(text) <= HIGHEST:
        raise InputError(
            f"{text!r} is not a mask value; write a number from {LOWEST} to {HIGHEST}, or a colour as '#ff0000'"
        )
    return int(text)


def check_labels(classes: Mapping[str, Sequence[str]], ignore: Sequence[str]) -> None:
    """Check that each class has a name and values, and that no value means two things.

    Args:
        classes: Mask values by class name, the background first.
        ignore: Mask values of pixels that count nowhere.

    Raises:
        InputError: They are not so, or numbers and colours are mixed.
    """
    if not 2 <= len(classes) <= IGNORE - 1:
        raise InputError(f"data.classes: {len(classes)} classes; name 2 to {IGNORE - 1}, the background first")
    for name, values in classes.items():
        if not re.fullmatch(r"\w+", name):
            raise InputError(f"data.classes.{name}: a class name may only have letters, digits and _; rename it")
        if not values:
            raise InputError(f"data.classes.{name}: no value; list the mask values of this class")
    parsed = [parse_value(text) for texts in (*classes.values(), ignore) for text in texts]
    if repeated := [value for value in parsed if parsed.count(value) > 1]:
        raise InputError(f"data: the mask value {repeated[0]} is listed twice; give it one meaning")
    if len({type(value) for value in parsed}) > 1:
        raise InputError("data: mask values mix numbers and colours; write all of them as colours, like '#ffffff'")
