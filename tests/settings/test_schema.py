from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import ROOT
from edits import PARAMS, edited
from ruamel.yaml import YAML

from fieldgap.settings import sections
from fieldgap.settings.messages import meaning, schema_of
from fieldgap.settings.schema import params_schema
from fieldgap.settings.values import CONFIG

COMMITTED = ROOT / "params.schema.json"
FILES = [ROOT / "params.yaml", *sorted((ROOT / "params").glob("*.yaml"))]
SCHEMA = params_schema()


def faults(params: Any) -> list[str]:
    """Where a file breaks the committed schema."""
    found = jsonschema.Draft202012Validator(json.loads(COMMITTED.read_text())).iter_errors(params)
    return [".".join(map(str, fault.absolute_path)) for fault in found]


def test_the_committed_schema_is_that_of_the_sections() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    written = json.loads(COMMITTED.read_text())
    assert written == SCHEMA, "run: python -m fieldgap.settings.schema > params.schema.json"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_shipped_files_fit_the_schema(path: Path) -> None:
    """Read as editors read them, by YAML 1.2."""
    assert faults(YAML(typ="safe").load(path)) == []


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("train.epohcs", 3, "train"),
        ("reports", {}, ""),
        ("grid.widht", [1], "grid"),
        ("grid.options", [{}], "grid"),
        ("train.epochs", 0, "train.epochs"),
        ("train.epochs", 1.5, "train.epochs"),
        ("train.schedule", "cosin", "train.schedule"),
        ("train.batch_size", "whole", "train.batch_size"),
        ("split.val", 1, "split.val"),
        ("split.folds", 1, "split.folds"),
        ("split.group", "farm", "split.group"),
        ("data.mask_pattern", "{stem}{stem}", "data.mask_pattern"),
        ("normalize.scale", "16", "normalize.scale"),
        ("data.foreground", [1.5], "data.foreground.0"),
        ("grid.seed", 0, "grid.seed"),
        ("grid.seed", [], "grid.seed"),
        ("grid.seed", [0, 0], "grid.seed"),
        ("grid.init", ["glorot"], "grid.init.0"),
        ("train.options", {"cosine": {"finl": 0}}, "train.options.cosine"),
        ("train.options", {"cosine": {"final": "low"}}, "train.options.cosine.final"),
        ("train.options", {"cosin": {}}, "train.options"),
    ],
)
def test_the_schema_refuses_what_cannot_be_used(path: str, value: object, where: str) -> None:
    assert faults(edited(path, value)) == [where]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("train.batch_size", "full"),
        ("grid.lr", [0.1, 1]),
        ("grid.batch_size", [8, "full"]),
        ("grid.init", ["own.parts:mine"]),
        ("train.loss", "0.5*dice+focal"),
        ("data.foreground", [255, "#ff0000"]),
        ("data.classes", {"background": [0], "wheat": [1, 4]}),
        ("split.group", "stem:^[^_]+"),
        ("split.folds", 5),
        ("train.options", {"SGD": {"momentum": 0.9}, "step": {"every": 0.5}, "own.parts:mine": {"a": [1, 2]}}),
    ],
)
def test_the_schema_accepts_what_can_be_used(path: str, value: object) -> None:
    assert faults(edited(path, value)) == []


def keys(schema: Any) -> Any:
    return schema.get("properties", {}).items()


def test_every_key_says_what_it_means() -> None:
    for name, block in SCHEMA["$defs"].items():
        for key, rule in keys(block):
            assert len(rule["description"]) > 5, f"{name}.{key}"


def test_every_section_is_frozen_and_refuses_unknown_keys() -> None:
    kinds = [getattr(sections, name) for name in sections.__all__]
    assert len(kinds) == 9
    for kind in kinds:
        assert kind.__dataclass_params__.frozen
        assert kind.__pydantic_config__ == CONFIG


def test_the_comments_of_params_yaml_are_the_meanings_of_its_keys() -> None:
    """And each file names the schema first, so that editors find it."""
    first, *lines = (ROOT / "params.yaml").read_text().splitlines()
    assert first == f"# yaml-language-server: $schema={COMMITTED.name}"
    section, seen = "", 0
    for line in lines:
        section = head[1] if (head := re.match(r"(\w+):", line)) else section
        if found := re.match(r"  (\w+):(?: .*?)? # (.*)", line):
            kind = getattr(sections, "Train" if section == "grid" else section.title())
            rule = schema_of(kind)["properties"][found[1]]
            assert found[2] in (rule["description"], meaning(rule)), line
            seen += 1
    assert seen == sum(len(block) for block in PARAMS.values())
