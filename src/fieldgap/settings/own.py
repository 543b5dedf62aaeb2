"""The user's own parts, read without being run.

The trap: a plan, a dry run and an old dvc.lock name functions in files that nobody asked to run, and importing a file
runs it. So their options are read from the text of the file. `params.try_own_parts` imports them, before real work.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fieldgap.base import untrusted
from fieldgap.base.errors import InputError
from fieldgap.parts.registry import Part, source_of

KINDS = {kind.__name__: kind for kind in (bool, int, float, str)}
COMPUTED = object()  # A default that only running the file would tell. The file's digest stands for it in a key.


def part_of(registry: Mapping[str, Part], name: str) -> Part:
    """Return the part of that name, or for one of the user's own a stand-in that has its options and does nothing.

    Raises:
        InputError: The file is missing, is no Python, or lacks the function, or an option's annotation is of no use.
    """
    if ":" not in name:
        return registry[name]
    source = source_of(name)
    try:
        return _stand_in(name, Path(source).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{name}: {source} cannot be read as Python ({error}); mend the file or the name") from None


@functools.cache
def _stand_in(name: str, text: str) -> Part:
    module, function = untrusted.function(name)
    found = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == function]
    if not found:
        raise InputError(f"{name}: {module} has no `def {function}` at its top level; mend the file or the name")
    options = zip(found[-1].args.kwonlyargs, found[-1].args.kw_defaults, strict=True)

    def stand_in() -> None: ...

    parameters = [_option(name, argument, default) for argument, default in options]
    stand_in.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return stand_in


def _option(name: str, argument: ast.arg, default: ast.expr | None) -> inspect.Parameter:
    kind = _kind(argument.annotation)
    if kind is None:
        written = ast.unparse(argument.annotation) if argument.annotation else "no annotation"
        raise InputError(
            f"{name}: its option {argument.arg} cannot be typed ({written}); annotate it with int, float, bool, str or "
            "a tuple"
        )
    return inspect.Parameter(argument.arg, inspect.Parameter.KEYWORD_ONLY, default=_default(default), annotation=kind)


def _default(node: ast.expr | None) -> Any:
    if node is None:
        return inspect.Parameter.empty
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        return COMPUTED


def _kind(node: ast.expr | None) -> Any:
    """Return the type that an annotation names: int, float, bool, str or a tuple of one of them; None for others."""
    match node:
        case ast.Constant(value=str(text)):
            return _kind(ast.parse(text, mode="eval").body)
        case ast.Name(id=name):
            return KINDS.get(name)
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[first, ast.Constant(value=rest)])):
            inner = _kind(first)
            return tuple[inner, ...] if inner and rest is ... else None  # type: ignore[valid-type]
    return None
