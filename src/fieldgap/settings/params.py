"""All of params.yaml, checked before any stage runs; the grid that becomes runs; and values as command-line flags."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, WrapValidator
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from fieldgap.base.errors import InputError
from fieldgap.parts.registry import find
from fieldgap.settings.messages import checked, nearest
from fieldgap.settings.sections import Data, Demo, Engine, Normalize, Record, Report, Split, Train
from fieldgap.settings.values import CONFIG, Value, block_of, refused, typed_as

TRAIN: dict[str, FieldInfo] = vars(Train)["__pydantic_fields__"]
LONGEST = 250  # Bytes in a run's name: file systems allow 255, and the lock of a run adds ".lock" to it.


def _check_level(level: Value) -> Value:
    if not re.fullmatch(r"(?!\.+$)[\w.+:-]+", str(level)):
        raise refused("cannot be part of a folder name; use letters, digits and . _ + : -")
    return level


def _check_axis(levels: list[Value]) -> list[Value]:
    if len(set(levels)) < len(levels):
        raise refused("has a value twice; remove one")
    return levels


def _in_order(values: Any, handler: Callable[[Any], Any]) -> Any:
    """Keep the order of the axes, which names the runs."""
    typed = handler(values)
    return {name: typed[name] for name in values}


def _with(key: FieldInfo, *marks: Any) -> Any:
    """Return the type of a key with marks beside its own."""
    return Annotated[(key.annotation, *key.metadata, *marks)]


def _axis(key: FieldInfo) -> Any:
    rules = Field(min_length=1, description=key.description, json_schema_extra={"uniqueItems": True})
    return Annotated[list[_with(key, AfterValidator(_check_level))], rules, AfterValidator(_check_axis)]  # type: ignore[misc]


_FIXED = {name: _with(key, Field(description=key.description)) for name, key in TRAIN.items()}
_AXES = {name: _axis(key) for name, key in TRAIN.items() if name != "options"}
Fixed = Annotated[
    dict[str, Any],
    typed_as(block_of("Train", _FIXED)),
    Field(description="The values that all runs share; any key but options may move to grid."),
]
Grid = Annotated[
    dict[str, list[Value]],
    typed_as(block_of("Grid", _AXES)),
    WrapValidator(_in_order),
    Field(description="The axes, each with a list of values; every combination is one run."),
]


def run_name(values: Iterable[Value]) -> str:
    """Return a run's folder, DVC key, MLflow name and legend: its axis values as DVC's matrix spells and joins them."""
    return "-".join(str(value).lower() if isinstance(value, bool) else str(value) for value in values)


def expand(grid: Mapping[str, Sequence[Value]]) -> dict[str, dict[str, Value]]:
    """Return the axis values of each run by its name: the product of all axes, the last one fastest.

    Raises:
        InputError: A name is too long for a file.
    """
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    runs = {run_name(point.values()): point for point in points}
    if (size := max((len(os.fsencode(name)) for name in runs), default=0)) > LONGEST:
        raise InputError(f"grid: a run's name has {size} bytes, more than {LONGEST}; use shorter values or fewer axes")
    return runs


def one_per_variant(runs: Mapping[str, Mapping[str, Value]]) -> list[str]:
    """Return the name of the first run of each variant: what is valid for one seed is valid for all."""
    variants: dict[tuple[Value, ...], str] = {}
    for name, point in runs.items():
        variants.setdefault(tuple(value for key, value in point.items() if key != "seed"), name)
    return list(variants.values())


@dataclass(frozen=True, config=CONFIG)
class Settings:
    """All values of params.yaml. Settings are equal if they give the same results."""

    data: Data
    demo: Demo
    split: Split
    normalize: Normalize
    train: Fixed
    grid: Grid
    report: Report
    record: Record
    engine: Engine = dataclasses.field(compare=False, repr=False)

    def __post_init__(self) -> None:
        if both := [key for key in self.grid if key in self.train]:
            raise InputError(f"grid.{both[0]}: also in train; an axis belongs in grid alone, remove train.{both[0]}")
        if missing := [key for key in TRAIN if key not in self.train and key not in self.grid]:
            raise InputError(f"train.{missing[0]}: missing; add it to params.yaml")
        used: set[str] = set()
        for name in one_per_variant(self.runs):
            try:
                used |= Train(**{**self.train, **self.runs[name]}).options.keys()
            except InputError as error:
                raise InputError(f"run {name}: {error}") from None
        if unused := [name for name in self.train["options"] if name not in used]:
            hint, names = nearest(unused[0], used), ", ".join(sorted(used))
            raise InputError(f"train.options.{unused[0]}: no run uses it{hint}; used: {names}")

    @functools.cached_property
    def runs(self) -> dict[str, dict[str, Value]]:
        """The axis values of each run by its name, in the grid's order."""
        return expand(self.grid)


def check(params: Mapping[str, object]) -> Settings:
    """Return the whole of params.yaml, typed, with every run of the grid valid.

    Raises:
        InputError: A key is unknown, missing or wrong.
    """
    return checked(Settings, params)


def try_own_parts(settings: Settings) -> None:
    """Import the user's own parts and call each schedule once, so that they fail before any stage runs.

    Raises:
        InputError: One of them fails.
    """
    for run in one_per_variant(settings.runs):
        train = Train(**{**settings.train, **settings.runs[run]})
        for name in train.options:
            if ":" in name:
                find({}, name)
        try:
            train.try_schedule()
        except InputError:
            raise
        except Exception as error:  # It is the user's code.
            raise InputError(f"{train.schedule}: fails when it is called ({type(error).__name__}: {error})") from None


def load(path: Path) -> dict[str, Any]:
    """Return what a YAML file says, unchecked.

    Raises:
        InputError: It cannot be read, has no keys, or has one twice, of which one reader takes the first, another the
            last, and DVC none.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            if twice := next((key for key in keys if keys.count(key) > 1), None):
                line = node.start_mark.line + 1
                raise InputError(f"{path}: line {line} begins a block with {twice!r} twice; remove one")
            return super().construct_mapping(node, deep)

    try:
        params = Loader(path.read_text(encoding="utf-8")).get_single_data()
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML: {error}") from None
    if not isinstance(params, dict):
        raise InputError(f"{path}: has no keys; see the params.yaml of this project for the shape")
    return params


def read(path: Path) -> Settings:
    """Return the checked settings of a params.yaml.

    Raises:
        InputError: It cannot be read, or a key is unknown, missing or wrong.
    """
    return check(load(path))


def flags(values: Mapping[str, Any]) -> str:
    """Return values as command-line flags, spelt as DVC spells a block: nested keys are joined by dots."""
    words: list[str] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            words += [flags({f"{key}.{name}": inner for name, inner in value.items()})] if value else []
        elif isinstance(value, bool):
            words.append(shlex.quote(f"--{key}" if value else f"--no-{key}"))
        elif isinstance(value, Sequence) and not isinstance(value, str):
            words += map(shlex.quote, [f"--{key}", *map(str, value)]) if value else []
        else:
            words += map(shlex.quote, [f"--{key}", str(value)])
    return " ".join(words)
