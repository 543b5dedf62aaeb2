"""The parts that an ablation varies, each a function found by name and given its options.

A name is a key of a registry (INITS, SCHEDULES, LOSSES), or `package.module:function` for the user's own. A part's
options are its keyword-only parameters: their annotations type what params.yaml holds, their defaults may be left out.
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

from fieldgap.base.errors import InputError

Part = Callable[..., Any]
Options = Mapping[str, Mapping[str, Any]]


def own_sources(name: str) -> list[str]:
    """-> the files, relative to the working folder, of the user's own parts in a name or a sum of names."""
    return [module.replace(".", "/") + ".py" for module in re.findall(r"([\w.]+):", name)]


def source_of(name: str) -> str:
    """-> the file of one of the user's own parts. Raises InputError for another name or when there is no such file."""
    if not re.fullmatch(r"(?:[^\W\d]\w*\.)*[^\W\d]\w*:[^\W\d]\w*", name):
        raise InputError(f"{name!r}: is no name of a function; write package.module:function")
    source = own_sources(name)[0]
    if not Path(source).is_file():
        raise InputError(f"{name}: there is no {source}; write package.module:function, seen from the project's folder")
    return source


def find(registry: Mapping[str, Part], name: str) -> Part:
    """-> the function of that name. Raises InputError when the user's own cannot be had, KeyError for no name."""
    if ":" not in name:
        return registry[name]
    source = source_of(name)
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)
    module, function = name.split(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, SyntaxError, AttributeError) as error:
        raise InputError(f"{name}: {source} does not give it ({error}); mend the file or the name") from None


@functools.cache
def options_of(part: Part) -> dict[str, inspect.Parameter]:
    """-> the keyword-only parameters of a part."""
    return {name: each for name, each in inspect.signature(part).parameters.items() if each.kind == each.KEYWORD_ONLY}


def bind(registry: Mapping[str, Part], name: str, options: Options) -> Part:
    """-> the function of that name with its options filled in."""
    part = find(registry, name)
    return functools.partial(part, **options[name]) if options.get(name) else part
