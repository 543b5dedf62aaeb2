"""The whole of params.yaml, typed and checked before any stage runs, and its values as command-line flags.

Like sections.py it must import in milliseconds.
"""

from __future__ import annotations

import functools
import itertools
import re
import shlex
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from fieldgap.base.errors import InputError
from fieldgap.settings.sections import Data, Demo, Engine, Normalize, Record, Report, Split, Train, parts_of
from fieldgap.settings.values import Value, convert, convert_lists, convert_option, convert_options, nearest

type_hints = functools.cache(typing.get_type_hints)  # A grid may have ten thousand values.


@dataclass(frozen=True)
class Settings:
    """All of params.yaml, typed. `runs` maps each run's name to its axis values, in the grid's order.

    Settings are equal when they give the same results, however an engine comes by them.
    """

    data: Data
    demo: Demo
    split: Split
    normalize: Normalize
    train: dict[str, Any]
    grid: dict[str, list[Value]]
    report: Report
    record: Record
    runs: dict[str, dict[str, Value]]
    engine: Engine = field(compare=False, repr=False)


def convert_field(section: type, name: str, value: object, where: str = "") -> Value:
    """-> the value of one key of a section, with its type and its rule checked. Raises InputError."""
    key = f"{where}{name}"
    meta = next(f.metadata for f in fields(section) if f.name == name)
    if name == "options":
        return convert_options(key, value)
    kind = type_hints(section)[name]
    if typing.get_origin(kind) is dict:
        return convert_lists(key, value)
    if isinstance(kind, types.UnionType):  # A number, or a word that stands for one.
        kind = str if isinstance(value, str) and not value.isdigit() else int
    many = typing.get_origin(kind) is tuple
    result: Any = convert_option(key, value, kind) if many else convert(key, value, kind)
    if "names" in meta and result not in meta["names"] and not set(meta.get("own", "")) & set(str(result)):
        known = ", ".join(meta["names"])
        raise InputError(f"{key}: {result!r} is unknown{nearest(result, meta['names'])}; known: {known}")
    if "holds" in meta and not meta["holds"](result):
        raise InputError(f"{key}: {result!r} must be {meta['says']}")
    return result


def check_keys(given: Mapping[str, object], known: Sequence[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise InputError(f"{where}{key}: no such key{nearest(key, known)}; known: {', '.join(known)}")
    if missing := [key for key in known if key not in given]:
        raise InputError(f"{where}{missing[0]}: missing; add it to params.yaml")


def section(kind: type, params: Mapping[str, object], name: str) -> Any:
    """-> params[name] as an instance of the dataclass `kind`. Raises InputError."""
    values = mapping(params, name)
    check_keys(values, [f.name for f in fields(kind)], f"{name}.")
    return kind(**{key: convert_field(kind, key, value, f"{name}.") for key, value in values.items()})


def mapping(params: Mapping[str, object], name: str) -> Mapping[str, object]:
    if not isinstance(values := params[name], Mapping):
        raise InputError(f"{name}: {values!r} is not a block of keys; indent its keys below it")
    return values


def run_name(values: Iterable[Value]) -> str:
    """A run's folder, DVC key, MLflow name and legend: its axis values as DVC's matrix spells and joins them."""
    return "-".join(str(value).lower() if isinstance(value, bool) else str(value) for value in values)


def expand(grid: Mapping[str, Sequence[Value]]) -> dict[str, dict[str, Value]]:
    """-> each run's name with its axis values: the product of all axes, the last one fastest."""
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    return {run_name(point.values()): point for point in points}


def first_of_each_kind(runs: Mapping[str, Mapping[str, Value]]) -> list[str]:
    """-> the names of runs of which no two differ in their seeds alone: what holds for one seed holds for all."""
    kinds: dict[tuple[Value, ...], str] = {}
    for name, point in runs.items():
        kinds.setdefault(tuple(value for key, value in point.items() if key != "seed"), name)
    return list(kinds.values())


def axis(name: str, values: object) -> list[Value]:
    """-> the typed values of one grid axis. Raises InputError."""
    if not isinstance(values, list) or not values:
        raise InputError(f"grid.{name}: {values!r} is not a list of values; write it as [a, b]")
    if name == "options":
        raise InputError("grid.options: options belong to their part; leave them in train")
    typed = [convert_field(Train, name, value, "grid.") for value in values]
    if len(set(typed)) < len(typed):
        raise InputError(f"grid.{name}: a value occurs twice in {typed}; remove one")
    if unfit := [value for value in typed if not re.fullmatch(r"(?!\.+$)[\w.+:-]+", str(value))]:
        raise InputError(
            f"grid.{name}: {unfit[0]!r} cannot be part of a folder name; use letters, digits and . _ + : -"
        )
    return typed


def check(params: Mapping[str, object]) -> Settings:
    """-> the whole of params.yaml, typed, every run of the grid valid. Raises InputError for the first bad key."""
    check_keys(params, [f.name for f in fields(Settings) if f.name != "runs"], "")
    train, grid = mapping(params, "train"), mapping(params, "grid")
    known = [f.name for f in fields(Train)]
    if both := [key for key in grid if key in train]:
        raise InputError(
            f"grid.{both[0]}: also stands in train; an axis lives in the grid alone, remove train.{both[0]}"
        )
    check_keys(grid, [key for key in known if key in grid], "grid.")
    check_keys(train, [key for key in known if key not in grid], "train.")
    axes = {key: axis(key, values) for key, values in grid.items()}
    fixed: dict[str, Any] = {key: convert_field(Train, key, value, "train.") for key, value in train.items()}
    runs = expand(axes)
    kinds = first_of_each_kind(runs)
    for name in kinds:
        try:
            Train(**{**fixed, **runs[name]})
        except InputError as error:
            raise InputError(f"run {name}: {error}") from None
    chosen = [{**fixed, **runs[name]} for name in kinds]
    used = {name for run in chosen for name in parts_of(run["init"], run["schedule"], run["loss"])}
    used |= {run[key] for run in chosen for key in ("optimizer", "model")}
    if unused := [name for name in fixed.get("options", {}) if name not in used]:
        names = ", ".join(sorted(map(str, used)))
        raise InputError(
            f"train.options.{unused[0]}: no run uses it{nearest(unused[0], map(str, used))}; used: {names}"
        )
    return Settings(
        data=section(Data, params, "data"),
        demo=section(Demo, params, "demo"),
        split=section(Split, params, "split"),
        normalize=section(Normalize, params, "normalize"),
        train=fixed,
        grid=axes,
        report=section(Report, params, "report"),
        record=section(Record, params, "record"),
        runs=runs,
        engine=section(Engine, params, "engine"),
    )


def read(path: Path) -> Settings:
    """-> the checked settings of a params.yaml. Raises InputError."""
    import yaml

    try:
        params = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML: {error}") from None
    if not isinstance(params, dict):
        raise InputError(f"{path}: holds no keys; see params.yaml of this project for the shape")
    return check(params)


def flags(values: Mapping[str, Any]) -> str:
    """-> `values` as command-line flags, spelt as DVC spells ${...} of a block: nested keys are joined by dots."""
    words: list[str] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            words += [flags({f"{key}.{name}": each for name, each in value.items()})] if value else []
        elif isinstance(value, bool):
            words.append(f"--{key}" if value else f"--no-{key}")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            words += [f"--{key}", *(shlex.quote(str(item)) for item in value)] if value else []
        else:
            words += [f"--{key}", shlex.quote(str(value))]
    return " ".join(words)
