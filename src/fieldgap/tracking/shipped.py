"""What a registered model brings along so that it needs no fieldgap: the code that builds its network.

Files are found by following imports, first those of fieldgap's builder, then those of the user's own network. What that
imports beyond the project's folder and fieldgap are packages, to be installed where the model is.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator
from typing_extensions import TypedDict

from fieldgap.base import untrusted
from fieldgap.base.errors import InputError

PACKAGE = Path(__file__).parents[1]
BUILDER = f"{PACKAGE.name}.network.build"  # All that `served.py` imports of ours.
# What `served.py` and the builder import. Networks named smp.* need a package more.
NEEDED = ("mlflow", "numpy", "opencv-python-headless", "pandas", "safetensors", "torch")
FOR_TYPES = ("TYPE_CHECKING", "typing.TYPE_CHECKING")
PREFIX, LIBRARY = "smp.", "segmentation_models_pytorch"


def _requirement(text: str) -> str:
    if not re.fullmatch(r"[\w.-]+==[\w.!]+", text, re.ASCII):
        raise ValueError(f"{text!r:.80} is not the version of a package")
    return text


class Model(TypedDict):
    """What the model of a run needs beside its weights and its configuration, read back from entries that waited.

    Attributes:
        tile: The side of its tiles in pixels.
        classes: The names of its classes, the background first.
        code: The text of each file by its path below the folder from which it is imported.
        packages: Its requirements beyond NEEDED.
    """

    tile: int
    classes: list[str]
    code: dict[Annotated[str, AfterValidator(untrusted.relative)], str]
    packages: list[Annotated[str, AfterValidator(_requirement)]]


def model_of(network: str, tile: int, classes: Iterable[str]) -> Model:
    """Return what the model with a network of this name needs.

    Raises:
        InputError: A file of the user's own is missing or cannot be read.
    """
    code, _ = _followed(BUILDER)
    imported = {LIBRARY} if network.startswith(PREFIX) else set()
    if ":" in network:
        own, imported = _followed(_module_of(network))
        code |= own
    known = packages_distributions() if imported else {}
    packages = {package for module in imported for package in known.get(module, ())} - {*NEEDED, PACKAGE.name}
    return Model(
        tile=tile,
        classes=list(classes),
        code=dict(sorted(code.items())),
        packages=[pinned(package) for package in sorted(packages)],
    )


def _module_of(name: str) -> str:
    try:
        module, _ = untrusted.function(name)
    except ValueError as error:
        raise InputError(f"model: {error}") from None
    source = Path(*module.split(".")).with_suffix(".py")
    if not source.is_file():
        raise InputError(f"model: {name}: there is no {source} in the project's folder, with which to serve it; add it")
    return module


def pinned(package: str) -> str:
    """Return the requirement of a package at its installed version; +cpu and the like are on no package index."""
    return f"{package}=={version(package).partition('+')[0]}"


def _followed(module: str) -> tuple[dict[str, str], set[str]]:
    """Return the files that importing a module loads, and the top-level names that own files import of packages."""
    code: dict[str, str] = {}
    foreign: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        root = PACKAGE.parent if top == PACKAGE.name else Path()
        if not (files := _files(root, name)):
            foreign.add(top)
        for path in files:
            if (place := path.relative_to(root).as_posix()) not in code:
                code[place], imported = _read(path, place)
                ours = root != Path()
                waiting += [each for each in imported if not ours or each.partition(".")[0] == PACKAGE.name]
    return code, foreign


def _files(root: Path, name: str) -> list[Path]:
    """Return the files that Python runs, in this folder, to import a dotted name, which may end in no module."""
    parts = name.split(".")
    stems = [root.joinpath(*parts[: length + 1]) for length in range(len(parts))]
    candidates = [path for stem in stems for path in (stem / "__init__.py", stem.with_name(f"{stem.name}.py"))]
    return [path for path in candidates if path.is_file()]


def _read(path: Path, place: str) -> tuple[str, list[str]]:
    """Return a file's text, and the dotted names that it imports."""
    package = ".".join(Path(place).parent.parts)
    try:
        content = path.read_bytes()
        return content.decode(), list(_imported(ast.parse(content), package))
    except (OSError, SyntaxError, ValueError, ImportError) as error:
        raise InputError(f"{path}: cannot be read as a Python file in UTF-8 ({error}); mend it") from None


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) in FOR_TYPES:
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{module}.{alias.name}" for alias in node.names)
        waiting += ast.iter_child_nodes(node)
