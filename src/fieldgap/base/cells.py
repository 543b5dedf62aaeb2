"""Text in the cells of CSV files, which people open in spreadsheets.

The trap: a spreadsheet takes text that begins with = + - or @ for a formula, and runs it. Scenes may have such names.
So this text is written with an apostrophe before it, and read without (OWASP, "CSV Injection").
"""

from __future__ import annotations

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_ESCAPED = re.compile(r"'+[=+\-@\t\r]")


def escaped(value: object) -> object:
    """Return a value as it is written: text that looks like a formula, even behind apostrophes, gets one more."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def plain(text: str) -> str:
    """Return the text that `escaped` was given."""
    return text[1:] if _ESCAPED.match(text) else text
