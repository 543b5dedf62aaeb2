"""The source files of a stage and their digests. Light, so that no stage has to load torch to tell them."""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path

from fieldgap.errors import InputError

PACKAGE = Path(__file__).parent


@functools.cache
def imported(source: Path) -> list[str]:
    """-> the modules of this package that a file imports when it runs, not for type checking alone."""
    found: list[str] = []
    waiting: list[ast.AST] = [ast.parse(source.read_bytes())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module == PACKAGE.name:
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE.name}."):
            found.append(str(node.module).removeprefix(f"{PACKAGE.name}."))
        waiting += ast.iter_child_nodes(node)
    return found


def sources(module: str) -> list[Path]:
    """-> the file of a module of this package and those of all that it imports in turn, sorted."""
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        path = PACKAGE / f"{waiting.pop().replace('.', '/')}.py"
        if path not in found:
            found.add(path)
            waiting += imported(path)
    return sorted(found)


def digest(path: Path) -> str:
    """-> SHA-256 of a file's bytes, read once in pieces. Raises InputError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); run the stage that makes it again") from None


def code(module: str) -> dict[str, str]:
    """-> the digests of sources(), by their paths in this package."""
    return {path.relative_to(PACKAGE).as_posix(): digest(path) for path in sources(module)}
