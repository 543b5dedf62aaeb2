"""Find a part by its name and fill in its options.

A name is a key of a registry (INITS, SCHEDULES, LOSSES), or `package.module:function` for a part of the user's own. The
keyword-only parameters of a part are its options: their annotations type what params.yaml contains, and those with a
default may be left out.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fieldgap.base import untrusted
from fieldgap.base.errors import InputError

Part = Callable[..., Any]
Options = Mapping[str, Mapping[str, Any]]  # By the name of the part.


def own_sources(name: str) -> list[str]:
    """Return the files of the user's own parts in a name or in a sum of names, relative to the working folder.

    Raises:
        ValueError: If one is not package.module:function, so that its file could be anywhere.
    """
    parts = [untrusted.function(part) for part in re.findall(r"[^\s*+]*:[^\s*+]*", name)]
    return [_file_of(module) for module, _ in parts]


def _file_of(module: str) -> str:
    return f"{module.replace('.', '/')}.py"


def source_of(name: str) -> str:
    """Return the file of one of the user's own parts, relative to the working folder.

    Raises:
        InputError: If the name is not package.module:function, or there is no such file.
    """
    try:
        source = _file_of(untrusted.function(name)[0])
    except ValueError as error:
        raise InputError(str(error)) from None
    if not Path(source).is_file():
        raise InputError(f"{name}: there is no {source} in the project's folder; mend the name or add the file")
    return source


def find(registry: Mapping[str, Part], name: str) -> Part:
    """Return the part of that name.

    Raises:
        InputError: If a part of the user's own cannot be imported.
        KeyError: If the name is neither in the registry nor one of the user's own.
    """
    if ":" not in name:
        return registry[name]
    source = source_of(name)
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)
    module, function = name.split(":")
    try:
        return getattr(importlib.import_module(module), function)
    except Exception as error:  # It is the user's code.
        raise InputError(f"{name}: cannot be imported from {source} ({error}); mend the file or the name") from None


@functools.cache
def options_of(part: Part) -> dict[str, inspect.Parameter]:
    """Return the options of a part, which are its keyword-only parameters, by name."""
    parameters = inspect.signature(part).parameters.values()
    return {parameter.name: parameter for parameter in parameters if parameter.kind == parameter.KEYWORD_ONLY}


def bind(registry: Mapping[str, Part], name: str, options: Options) -> Part:
    """Return the part of that name with its own options filled in."""
    part = find(registry, name)
    return functools.partial(part, **options[name]) if options.get(name) else part
