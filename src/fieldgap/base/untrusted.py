"""Readers of text that comes from a file and becomes a path, a digest, a word of a shell or an import.

Receipts, lock files, caches and spools arrive from other machines and from other people. What is taken from them goes
through one of these readers first, each of which raises ValueError for anything that does not look as it must.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

_KEY = re.compile(r"[0-9a-f]{64}")
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
_FUNCTION = re.compile(r"((?:[^\W\d]\w*\.)*[^\W\d]\w*):([^\W\d]\w*)")


def _matching(pattern: re.Pattern[str], text: object, what: str) -> re.Match[str]:
    if not isinstance(text, str) or not (match := pattern.fullmatch(text)):
        raise ValueError(f"{text!r:.80} is not {what}")
    return match


def key(text: object) -> str:
    """Return the key of a result."""
    return _matching(_KEY, text, "a key, which has 64 hexadecimal digits")[0]


def md5(text: object) -> str:
    """Return the digest of a file or, if it ends with .dir, of a folder, as DVC writes them."""
    return _matching(_MD5, text, "an MD5 digest, which has 32 hexadecimal digits")[0]


def function(text: object) -> tuple[str, str]:
    """Return module and function of a name such as package.module:function."""
    match = _matching(_FUNCTION, text, "the name of a function; write package.module:function")
    return match[1], match[2]


def identifier(text: object) -> str:
    """Return a name that Python could give to an argument, so that it is one word in every shell."""
    if not isinstance(text, str) or not text.isidentifier():
        raise ValueError(f"{text!r:.80} is not a name of letters, digits and _")
    return text


def relative(text: object) -> str:
    """Return a path that stays below the folder to which it is relative. Links are not looked at."""
    path = PurePosixPath(text) if isinstance(text, str) else PurePosixPath()
    if not path.name or path.is_absolute() or ".." in path.parts or not str(text).isprintable():
        raise ValueError(f"{text!r:.80} is not the path of a file below its folder")
    return path.as_posix()


def inside(folder: Path, text: object) -> Path:
    """Return the path of a file below a folder, links followed."""
    path = folder / relative(text)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{text!r:.80} is a link that leaves its folder")
    return path
