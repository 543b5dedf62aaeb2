from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, TINY, key_of
from dvc.parsing.interpolate import to_str
from edits import PARAMS, edited

from fieldgap.base.errors import InputError
from fieldgap.cli import main
from fieldgap.parts.inits import INITS
from fieldgap.parts.losses import LOSSES
from fieldgap.parts.optimizers import OPTIMIZERS
from fieldgap.parts.registry import Part, options_of
from fieldgap.parts.schedules import SCHEDULES
from fieldgap.settings.options import resolved
from fieldgap.settings.params import check, expand, flags, one_per_variant, read, run_name
from fieldgap.settings.sections import Train


def trained(params: Mapping[str, Any], run: str = "kaiming_normal-0-0") -> Train:
    """The values of one run."""
    checked = check(params)
    return Train(**{**checked.train, **checked.runs[run]})


def test_the_shipped_grid_expands_to_its_product_last_axis_fastest() -> None:
    runs = check(PARAMS).runs
    assert list(runs)[:4] == ["kaiming_normal-0-0", "kaiming_normal-0-1", "kaiming_normal-0-2", "kaiming_normal-3-0"]
    assert len(runs) == 12
    assert runs["xavier_normal-3-2"] == {"init": "xavier_normal", "warmup_epochs": 3, "seed": 2}


@pytest.mark.parametrize("text", ["1e-3", "0.001", 0.001])
def test_a_number_means_the_same_however_yaml_reads_it(text: object) -> None:
    assert check(edited("train.lr", text)).train["lr"] == 0.001


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("train.epohcs", 3, r"train.epohcs: no such key \(did you mean epochs\?\); known: options, augment"),
        ("train.epochs", None, "train.epochs: missing; add it to params.yaml"),
        ("train.epochs", "many", "train.epochs: 'many' is not allowed; write a whole number, 1 or more"),
        ("train.epochs", 2.0, "train.epochs: 2.0 is not allowed; write a whole number"),
        ("train.epochs", "2.0", "train.epochs: '2.0' is not allowed; write a whole number"),
        ("train.epochs", True, "train.epochs: True is not allowed; write a whole number"),
        ("train.epochs", 0, "train.epochs: 0 is not allowed; write a whole number, 1 or more"),
        ("train.epochs", 3, "warmup_epochs: 3 leaves no epoch of 3 to decay in; lower warmup_epochs or raise epochs"),
        ("train.lr", "nan", "train.lr: nan is not allowed; write a number"),
        ("train.lr", -1, "train.lr: -1 is not allowed; write a number, above 0"),
        ("train.lr", True, "train.lr: True is not allowed; write a number, above 0"),
        ("train.ema", 1, "train.ema: 1 is not allowed; write a number, 0 or more and below 1"),
        ("train.warmup_start", 0.5, "warmup_start: 0.5 is above lr: 0.1"),
        ("engine.runs_per_gpu", 0, "engine.runs_per_gpu: 0 is not allowed; write a whole number, 1 or more"),
        ("engine.runs_per_gpu", None, "engine.runs_per_gpu: missing; add it to params.yaml"),
        ("engine", None, "engine: missing; add it to params.yaml"),
        ("train.augment", "maybe", "train.augment: 'maybe' is not allowed; write true or false"),
        ("train.augment", 1, "train.augment: 1 is not allowed; write true or false"),
        (
            "train.schedule",
            "cosin",
            r"train.schedule: 'cosin' is not allowed \(did you mean cosine\?\); write constant",
        ),
        ("train.init", "kaiming_normal", "grid.init: also in train; .* remove train.init"),
        (
            "grid.init",
            ["kaimin_normal"],
            r"grid.init: 'kaimin_normal' is not allowed \(did you mean kaiming_normal\?\)",
        ),
        ("grid.init", "kaiming_normal", "grid.init: 'kaiming_normal' is not allowed; write a list like"),
        ("grid.init", [], r"grid.init: \[\] is not allowed; write a list like"),
        ("grid.seed", [0, 0], r"grid.seed: \[0, 0\] has a value twice; remove one"),
        ("grid.seed", [0, "0"], r"grid.seed: \[0, '0'\] has a value twice; remove one"),
        ("grid.widht", [1], r"grid.widht: no such key \(did you mean width\?\)"),
        ("grid.seed", None, "train.seed: missing; add it to params.yaml"),
        ("grid.loss", ["dice"], "grid.loss: also in train"),
        ("data.mask_pattern", "mask.png", r"data.mask_pattern: 'mask.png' is not allowed; .* with {stem} in it once"),
        ("data.mask_pattern", "{stem}{stem}", "data.mask_pattern: '{stem}{stem}' is not allowed"),
        ("data.mask_pattern", "../{stem}.png", "data.mask_pattern: '../{stem}.png' is not allowed"),
        ("data.images", "a\nb", r"data.images: 'a\\nb' contains a character that does not print; remove it"),
        ("data.classes", {"water": 7}, "data.classes: 1 classes; name 2 to 254, the background first"),
        ("data.classes", [7], r"data.classes: \[7\] is not allowed; write a block of keys"),
        ("data.classes", {"a": [None], "b": [1]}, r"data.classes.a: None is not allowed; write a mask value"),
        ("data.bands", [0], "data.bands: 0 is not allowed; write a whole number, 1 or more"),
        ("data.bands", [], r"data.bands: \[\] is not allowed; write a list of band numbers from 1"),
        ("split.val", 1.5, "split.val: 1.5 is not allowed; write a number, above 0 and below 1"),
        ("split.val", 0.9, r"split.val and split.test: 0.9 \+ 0.3 leave nothing to train on; lower one of them"),
        ("split.folds", 1, "split.folds: 1 is not allowed; write 0, or 2 or more"),
        ("split.group", "farm", "split.group: 'farm' is not allowed; write scene, stem:REGULAR_EXPRESSION"),
        ("split.group", "stem:[", r"split.group: 'stem:\[' cannot be used \(unterminated character set"),
        ("split.group", "block:0", r"split.group: 'block:0' cannot be used \(a block has a size above 0\)"),
        ("normalize.scale", "limits:9:5", "normalize.scale: 'limits:9:5' is not a range; LOW must be below HIGH"),
        ("normalize.scale", "percentiles:1:101", "normalize.scale: 'percentiles:1:101' is .*; .* HIGH at most 100"),
        (
            "normalize.stride",
            "tiles",
            r"normalize.stride: 'tiles' is not allowed \(did you mean tile\?\); write tile, or",
        ),
        ("train", [1], r"train: \[1\] is not allowed; write a block of keys"),
        ("grid", [1], r"grid: \[1\] is not allowed; write a block of keys"),
        ("split", None, "split: missing; add it to params.yaml"),
        ("record.store", "mlflow", "record.store: 'mlflow' is not allowed; write a tracking URI such as"),
        ("reports", {}, r"reports: no such key \(did you mean report\?\)"),
        (
            "train.batch_size",
            "whole",
            "train.batch_size: 'whole' is not allowed; write full, or a whole number, 1 or more",
        ),
        ("train.batch_size", 0, "train.batch_size: 0 is not allowed; write full, or a whole number, 1 or more"),
        ("train.schedule", "cosine+step", r"train.schedule: 'cosine\+step' is not allowed"),
        ("train.optimizer", "Adamw", r"train.optimizer: 'Adamw' is not allowed \(did you mean AdamW\?\)"),
        ("train.options", {"cosin": {}}, r"train.options.cosin: no run uses it \(did you mean cosine\?\); used: SGD"),
        ("train.options", {"cosine": {"finl": 0}}, r"options.cosine.finl: no such key \(did you mean final\?\)"),
        ("train.options", {"cosine": {"final": "low"}}, "options.cosine.final: 'low' is not allowed; write a number"),
        ("train.options", {"cosine": 3}, "train.options.cosine: 3 is not allowed; write a block of keys"),
        (
            "train.options",
            {"SGD": {"momentum": None}},
            "train.options.SGD.momentum: None is not allowed; write a number",
        ),
        ("train.schedule", "multi_step", "options.multi_step.milestones: missing; add it to params.yaml"),
        ("train.zero_gamma", True, "zero_gamma: without residual blocks and their norms it would silence the network"),
        ("train.schedule", "one_cycle", "schedule: one_cycle begins at 0.04 of the peak and climbs by itself"),
        ("train.loss", "dice+focl", "loss: there is no 'focl'; known: cross_entropy"),
        ("train.loss", "x*dice", "loss: 'x' is not a factor of 0 or more"),
        (
            "train.options",
            {"kaiming_normal": {"fan": "in"}},
            r"options.kaiming_normal.fan: 'in' is not allowed.*fan_out",
        ),
        ("train.schedule", "own.parts:mine", r"own.parts:mine: there is no own/parts.py"),
        ("grid.options", [{}], "grid.options: no such key"),
    ],
)
def test_a_bad_value_is_named_with_the_mend(path: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=f"^(run [^:]+: )?{message}"):
        check(edited(path, value))


def test_every_run_is_checked_not_the_first_alone() -> None:
    with pytest.raises(InputError, match=r"run kaiming_normal-30-0: warmup_epochs: 30"):
        check(edited("grid.warmup_epochs", [0, 30]))


def test_any_train_key_may_become_an_axis() -> None:
    params = edited("grid.lr", ["1e-1", 0.5])
    del params["train"]["lr"]
    runs = check(params).runs
    assert len(runs) == 24
    assert "kaiming_normal-0-0-0.1" in runs


def test_axes_and_their_levels_keep_their_order() -> None:
    params = edited("grid", {"seed": [2, 0], "init": ["xavier_normal", "kaiming_normal"], "warmup_epochs": [0]})
    assert list(check(params).runs)[:2] == ["2-xavier_normal-0", "2-kaiming_normal-0"]


def test_classes_keep_their_order() -> None:
    classes = {"water": [7], "field": ["1", 4], "background": 0}
    typed = check(edited("data.classes", classes)).data.table
    assert list(typed.items()) == [("water", ("7",)), ("field", ("1", "4")), ("background", ("0",))]


@pytest.mark.parametrize("block", ["data", "demo", "split", "normalize", "train", "grid", "record"])
def test_flags_are_spelt_as_dvc_spells_them(block: str) -> None:
    assert flags(PARAMS[block]) == to_str(PARAMS[block], {"bool": "boolean_optional"})


def test_nested_flags_are_spelt_as_dvc_spells_them() -> None:
    nested = {"options": {"step": {"every": 0.5, "milestones": [0.1, 0.2]}, "own.parts:mine": {"on": True}}, "none": {}}
    assert flags(nested) == to_str(nested, {"bool": "boolean_optional"})


def test_flags_quote_for_the_shell() -> None:
    values = {"images": "my scenes/$HOME", "augment": False, "milestones": [1, 2]}
    assert flags(values) == to_str(values, {"bool": "boolean_optional"})
    assert flags(values) == "--images 'my scenes/$HOME' --no-augment --milestones 1 2"


def test_run_names_are_those_of_the_dvc_matrix() -> None:
    values = [0.001, 1e-05, True, "orthogonal", 3]
    assert run_name(values) == "-".join(to_str(value) for value in values)


def test_a_run_whose_name_is_too_long_for_a_file_is_refused_with_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has few characters, but many bytes; the longest one that passes can be made, with what is added to it."""
    monkeypatch.chdir(tmp_path)
    name = "å" * 124
    (tmp_path / f"{name}.py").write_text("def f(tensor): ...\n")
    long = f"{name}:f"
    assert len(os.fsencode(f"{long}.lock")) == 255
    (tmp_path / f"{long}.lock").touch()
    assert expand({"init": [long]}) == {long: {"init": long}}
    message = "bytes, more than 250; use shorter values or fewer axes"
    with pytest.raises(InputError, match=f"^grid: a run's name has 254 {message}$"):
        check(edited("grid.init", [long]))
    words = ["report", "--runs", "runs", "--tiles", "tiles", "--out", "reports", "--init", long, "--seed", "0"]
    report = {"margin": 0.01, "margin_epochs": 1, "reach": 0.9, "window": 3, "poor": 0.3, "small_gap": 0.03}
    assert main([*words, *flags(report).split()]) == 1
    assert capsys.readouterr().err == f"fieldgap report: grid: a run's name has 252 {message}\n"


def test_options_are_typed_by_their_part_and_filled_from_its_defaults() -> None:
    options = {"cosine": {"final": "1e-1"}, "SGD": {"momentum": "0.5", "nesterov": "true", "betas": ["0.9", 1]}}
    typed = trained(edited("train.options", options)).options
    assert typed["cosine"] == {"final": 0.1}
    assert typed["SGD"] == {"betas": (0.9, 1), "momentum": 0.5, "nesterov": True}
    assert typed["kaiming_normal"]["fan"] == "fan_in"
    assert "xavier_normal" not in typed, "what a run does not use is not part of its identity"


def test_the_order_of_options_changes_no_key_and_no_command(tiles: Path) -> None:
    def named(*names: str) -> dict[str, Any]:
        values = {"momentum": 0.9, "dampening": 0.1, "nesterov": False}
        return {"SGD": {name: values[name] for name in names}, "cosine": {"final": 0.1}}

    one = named("momentum", "dampening", "nesterov")
    other = dict(reversed(named("nesterov", "dampening", "momentum").items()))
    assert list(one) != list(other)
    keys = {key_of(dataclasses.replace(TINY, options=options), tiles) for options in (one, other)}
    assert len(keys) == 1
    commands = {flags(check(edited("train.options", options)).train) for options in (one, other)}
    assert len(commands) == 1


def test_a_part_says_itself_what_it_does_not_accept() -> None:
    """Schedules are tried before any stage runs."""
    params = edited("train.options", {"multi_step": {"milestones": [0.5, 0.2], "factor": 0.1}})
    params["train"]["schedule"] = "multi_step"
    with pytest.raises(InputError, match="milestones"):
        check(params)


@pytest.mark.parametrize("registry", [INITS, SCHEDULES, LOSSES])
def test_every_option_can_be_typed_and_a_default_types_to_itself(registry: Mapping[str, Part]) -> None:
    for name, part in registry.items():
        known = options_of(part)
        needed = {key: "1" for key, option in known.items() if option.default is option.empty}
        typed = resolved(part, name, {name: needed})
        assert all(typed[key] in (1, 1.0, (1.0,)) for key in needed)
        again = {key: list(value) if isinstance(value, tuple) else str(value) for key, value in typed.items()}
        assert resolved(part, name, {name: again}) == typed


def test_no_two_parts_share_a_name() -> None:
    names = [name for registry in (INITS, SCHEDULES, LOSSES, OPTIMIZERS) for name in registry]
    assert len(names) == len(set(names))


def test_a_file_that_is_not_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("train: [1")
    with pytest.raises(InputError, match=r"params\.yaml: cannot be read as YAML"):
        read(tmp_path / "params.yaml")


def test_known_names_are_those_of_the_registry() -> None:
    *names, last = INITS
    with pytest.raises(InputError, match=f"{', '.join(names)} or {last}, or package.module:function$"):
        check(edited("grid.init", ["glorot"]))


def test_balanced_needs_a_loss_that_has_weights() -> None:
    params = edited("train.balanced", True)
    assert check(params).train["balanced"] is True
    params["train"]["loss"] = "dice+hinge"
    with pytest.raises(InputError, match=r"balanced: dice\+hinge has no class weights"):
        check(params)


def test_of_each_variant_the_first_run_is_checked() -> None:
    runs = expand({"seed": [0, 1], "init": ["orthogonal", "kaiming_normal"]})
    assert one_per_variant(runs) == ["0-orthogonal", "0-kaiming_normal"]


def test_settings_are_equal_if_they_give_the_same_results() -> None:
    shipped = check(PARAMS)
    assert check(edited("engine.runs_per_gpu", 9)) == shipped
    assert check(edited("train.lr", 0.2)) != shipped


@pytest.mark.parametrize("path", ["", "train", "train.options.SGD", "grid"])
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, path: str) -> None:
    """One reader would take the first, another the last."""
    text = (ROOT / "params.yaml").read_text()
    twice = {
        "": ("grid:", "grid: {}\ngrid:", "'grid'"),
        "train": ("  epochs: 18", "  epochs: 17\n  epochs: 18", "'epochs'"),
        "train.options.SGD": ("{momentum: 0.9}", "{momentum: 0.8, momentum: 0.9}", "'momentum'"),
        "grid": ("  seed: [0, 1, 2]", "  seed: [0]\n  seed: [0, 1, 2]", "'seed'"),
    }
    before, after, key = twice[path]
    assert text.count(before) == 1
    (tmp_path / "params.yaml").write_text(text.replace(before, after))
    with pytest.raises(InputError, match=rf"params\.yaml: line \d+ begins a block with {key} twice; remove one"):
        read(tmp_path / "params.yaml")


@pytest.mark.parametrize("name", ["momentum$(touch pwned)", "momentum; ls", "a b", "1st", "", "--lr"])
def test_the_name_of_an_option_is_one_word_of_a_shell(name: str) -> None:
    with pytest.raises(InputError, match=r"options\.SGD: .* is not a name of letters, digits and _; rename the option"):
        check(edited("train.options", {"SGD": {name: 0.9}}))


def test_all_words_of_flags_are_quoted() -> None:
    told = flags({"a;b": 1, "c$(d)": True, "e f": ["g", "h i"], "j": {"k`l`": "m"}})
    assert shlex.split(told) == ["--a;b", "1", "--c$(d)", "--e f", "g", "h i", "--j.k`l`", "m"]
