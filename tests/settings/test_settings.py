from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from dvc.parsing.interpolate import to_str
from edits import PARAMS, edited

from fieldgap.base.errors import InputError
from fieldgap.parts.inits import INITS
from fieldgap.parts.registry import Part, options_of
from fieldgap.settings import sections
from fieldgap.settings.params import check, expand, first_of_each_kind, flags, read, run_name
from fieldgap.settings.values import convert_option


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
        ("train.epohcs", 3, r"train.epohcs: no such key \(did you mean epochs\?\)"),
        ("train.epochs", None, "train.epochs: missing"),
        ("train.epochs", "many", "train.epochs: 'many' is not a whole number"),
        ("train.epochs", 2.5, "train.epochs: 2.5 is not a whole number"),
        ("train.epochs", True, "train.epochs: True is not a whole number"),
        ("train.epochs", 0, "train.epochs: 0 must be 1 or more"),
        ("train.epochs", 3, "warmup_epochs: 3 leaves no epoch of 3 to decay in"),
        ("train.lr", "nan", "train.lr: 'nan' is not a number"),
        ("train.lr", -1, "train.lr: -1.0 must be above 0"),
        ("train.warmup_start", 0.5, "warmup_start: 0.5 is above lr: 0.1"),
        ("engine.runs_per_gpu", 0, "engine.runs_per_gpu: 0 must be 1 or more"),
        ("engine.runs_per_gpu", None, "engine.runs_per_gpu: missing; add it to params.yaml"),
        ("engine", None, "engine: missing; add it to params.yaml"),
        ("train.augment", "maybe", "train.augment: 'maybe' is not true or false"),
        ("train.schedule", "cosin", r"train.schedule: 'cosin' is unknown \(did you mean cosine\?\); known: constant"),
        ("train.init", "kaiming_normal", "grid.init: also stands in train"),
        ("grid.init", ["kaimin_normal"], r"grid.init: 'kaimin_normal' is unknown \(did you mean kaiming_normal\?\)"),
        ("grid.init", "kaiming_normal", "grid.init: 'kaiming_normal' is not a list"),
        ("grid.init", [], r"grid.init: \[\] is not a list of values"),
        ("grid.seed", [0, 0], "grid.seed: a value occurs twice"),
        ("grid.widht", [1], r"grid.widht: no such key"),
        ("grid.seed", None, "train.seed: missing"),
        ("data.mask_pattern", "mask.png", r"data.mask_pattern: 'mask.png' must be a file name that contains \{stem\}"),
        ("split.val", 1.5, "split.val: 1.5 must be a share"),
        ("split.val", 0.9, r"val and test: 0.9 \+ 0.3 leave nothing to train on"),
        ("train", [1], r"train: \[1\] is not a block of keys"),
        ("record.store", "mlflow", "record.store: 'mlflow' must be a tracking URI"),
        ("reports", {}, "reports: no such key"),
        ("train.batch_size", "whole", "train.batch_size: 'whole' must be 1 or more, or full"),
        ("train.batch_size", 0, "train.batch_size: 0 must be 1 or more, or full"),
        ("train.schedule", "cosine+step", r"train.schedule: 'cosine\+step' is unknown"),
        ("train.optimizer", "Adamw", r"train.optimizer: 'Adamw' is unknown \(did you mean AdamW\?\)"),
        ("train.options", {"cosin": {}}, r"train.options.cosin: no run uses it \(did you mean cosine\?\); used: SGD"),
        ("train.options", {"cosine": {"finl": 0}}, r"options.cosine.finl: no such option \(did you mean final\?\)"),
        ("train.options", {"cosine": {"final": "low"}}, "options.cosine.final: 'low' is not a number"),
        ("train.options", {"cosine": 3}, "train.options: {'cosine': 3} is not a block"),
        ("train.schedule", "multi_step", "options.multi_step.milestones: missing; multi_step needs it"),
        ("train.zero_gamma", True, "zero_gamma: without residual blocks and their norms it would silence the network"),
        ("train.schedule", "one_cycle", "schedule: one_cycle begins at 0.04 of the peak and climbs by itself"),
        ("train.loss", "dice+focl", "loss: there is no 'focl'; known: cross_entropy"),
        ("train.loss", "x*dice", "loss: 'x' is not a factor of 0 or more"),
        ("train.options", {"kaiming_normal": {"fan": "in"}}, r"options.kaiming_normal.fan: 'in' is unknown.*fan_out"),
        ("train.schedule", "own.parts:mine", r"own.parts:mine: there is no own/parts.py"),
        ("grid.options", [{}], "grid.options: also stands in train"),
    ],
)
def test_a_bad_value_is_named_with_the_mend(path: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(edited(path, value))


def test_every_run_is_checked_not_the_first_alone() -> None:
    with pytest.raises(InputError, match=r"run xavier_normal-30-2|run kaiming_normal-30-0: warmup_epochs: 30"):
        check(edited("grid.warmup_epochs", [0, 30]))


def test_any_train_key_may_become_an_axis() -> None:
    params = edited("grid.lr", ["1e-1", 0.5])
    del params["train"]["lr"]
    runs = check(params).runs
    assert len(runs) == 24
    assert "kaiming_normal-0-0-0.1" in runs


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


def test_options_are_typed_by_their_part_and_filled_from_its_defaults() -> None:
    params = edited("train.options", {"cosine": {"final": "1e-1"}, "SGD": {"momentum": "0.5", "nesterov": True}})
    checked = check(params)
    train = sections.Train(**{**checked.train, **checked.runs["kaiming_normal-0-0"]})  # type: ignore[arg-type]
    assert train.options["cosine"] == {"final": 0.1}
    assert train.options["SGD"] == {"momentum": 0.5, "nesterov": True}
    assert train.options["kaiming_normal"]["fan"] == "fan_in"
    assert "xavier_normal" not in train.options, "what a run does not use is no part of its identity"


def test_a_part_says_itself_what_it_does_not_take() -> None:
    """Schedules are tried before any stage runs."""
    params = edited("train.options", {"multi_step": {"milestones": [0.5, 0.2], "factor": 0.1}})
    params["train"]["schedule"] = "multi_step"
    with pytest.raises(InputError, match="milestones"):
        check(params)


@pytest.mark.parametrize("registry", [sections.INITS, sections.SCHEDULES, sections.LOSSES])
def test_every_option_can_be_typed_and_a_default_types_to_itself(registry: Mapping[str, Part]) -> None:
    for part in registry.values():
        for name, option in options_of(part).items():
            if option.default is option.empty:
                assert convert_option(name, ["1"], option.annotation) in (1, 1.0, (1.0,))
            else:
                assert convert_option(name, option.default, option.annotation) == option.default


def test_no_two_parts_share_a_name() -> None:
    registries = (sections.INITS, sections.SCHEDULES, sections.LOSSES, sections.OPTIMIZERS)
    names = [name for registry in registries for name in registry]
    assert len(names) == len(set(names))


def test_a_file_that_is_no_yaml_is_named(tmp_path: Any) -> None:
    (tmp_path / "params.yaml").write_text("train: [1")
    with pytest.raises(InputError, match=r"params\.yaml: cannot be read as YAML"):
        read(tmp_path / "params.yaml")


def test_known_names_are_those_of_the_registry() -> None:
    with pytest.raises(InputError, match=", ".join(INITS)):
        check(edited("grid.init", ["glorot"]))


def test_balanced_needs_a_loss_that_takes_weights() -> None:
    params = edited("train.balanced", True)
    assert check(params).train["balanced"] is True
    params["train"]["loss"] = "dice+hinge"
    with pytest.raises(InputError, match=r"balanced: dice\+hinge takes no class weights"):
        check(params)


def test_of_runs_that_differ_in_their_seeds_alone_the_first_is_checked() -> None:
    runs = expand({"seed": [0, 1], "init": ["orthogonal", "kaiming_normal"]})
    assert first_of_each_kind(runs) == ["0-orthogonal", "0-kaiming_normal"]
