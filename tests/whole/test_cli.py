from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATTERN, ROOT
from edits import edited

from fieldgap.base.errors import InputError
from fieldgap.base.files import read_rows
from fieldgap.cli import main
from fieldgap.engines.commandline import arguments, parse
from fieldgap.engines.stages import COMMANDS, PATHS, STAGES
from fieldgap.engines.workflow import settings_of
from fieldgap.settings import sections
from fieldgap.settings.messages import meaning, schema_of
from fieldgap.settings.params import check

SPLIT = [
    *("--image_pattern", "{stem}", "--mask_pattern", PATTERN),
    *"--bands 1 2 3 --foreground 255 --background 0 --ignore --tolerance 0".split(),
    *"--unlabelled error --max_pixels 100000".split(),
    *"--val 0.3 --test 0.3 --seed 0 --group scene --no-stratify --folds 0 --table params/scenes.csv".split(),
]
TRAIN = (
    "train --tiles nowhere --out run --epochs 2 --batch_size 1 --lr 1e-3 --micro_batch 8 --optimizer SGD "
    "--weight_decay 0 --clip_norm 0 --ema 0 --schedule_per step --warmup linear "
    "--schedule cosine --warmup_epochs 0 --warmup_start 1e-3 --init kaiming_normal --loss cross_entropy "
    "--train_share 1 --model unet --norm batch --no-balanced --no-residual --no-zero_gamma --width 2 --depth 1 "
    "--fold none --split_by scene --augment --seed 0 --device cpu --precision fp32 --threads 1 "
    "--no-recompute --patience 0 --keep last"
).split()


def test_a_stage_runs_from_its_flags_alone(scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "split.csv"
    folders = ["--images", str(scenes / "images"), "--masks", str(scenes / "masks")]
    assert main(["split", *folders, "--out", str(out), *SPLIT]) == 0
    assert len(read_rows(out)) == 12


@pytest.mark.parametrize("stage", COMMANDS)
def test_every_stage_explains_each_of_its_flags(
    stage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "10000")  # Lines would break at hyphens.
    with pytest.raises(SystemExit) as stop:
        main([stage, "--help"])
    assert stop.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    assert told.startswith(f"usage: fieldgap {stage}")
    for path in COMMANDS[stage].paths:
        assert f"{path if path.isupper() else f'--{path} PATH'} {PATHS[path]}" in told
    for section in [*COMMANDS[stage].sections.values(), *["Train"] * COMMANDS[stage].grid]:
        for name, key in schema_of(getattr(sections, section))["properties"].items():
            if not (name == "options" and COMMANDS[stage].grid):
                flag = rf"--{name}(\.NAME)?(, --no-{name}| VALUE| \[VALUE \.\.\.\])"
                assert re.search(f"{flag} {re.escape(meaning(key))}", told), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--init": "kaimin_normal"}, "--init: 'kaimin_normal' is not allowed (did you mean kaiming_normal?); write"),
        ({"--epochs": "two"}, "--epochs: 'two' is not allowed; write a whole number, 1 or more"),
        ({"--lr": "-1"}, "--lr: -1.0 is not allowed; write a number, above 0"),
        ({"--warmup_epochs": "2"}, "warmup_epochs: 2 leaves no epoch of 2 to decay in"),
        ({}, "nowhere/tiles.csv: cannot be read"),
    ],
)
def test_bad_values_end_with_one_message_and_status_1(
    change: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = list(TRAIN)
    for flag, value in change.items():
        argv[argv.index(flag) + 1] = value
    assert main(argv) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("fieldgap train: ")
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_flags_of_options_arrive_as_the_values_of_params() -> None:
    """Nested keys as DVC and Snakemake spell them, typed by the part that they belong to."""
    options = "--options.polynomial.power 2 --options.SGD.nesterov --options.SGD.momentum 0.9 --no-options.SGD.maximize"
    argv = [word if word != "cosine" else "polynomial" for word in TRAIN]
    given = parse([*argv, *options.split()])
    assert given.pop("stage") == "train"
    config = arguments(STAGES["train"], given)["config"]
    assert config.options["polynomial"]["power"] == 2.0
    assert config.options["SGD"] == {"nesterov": True, "momentum": 0.9, "maximize": False}


def test_flags_of_classes_arrive_in_their_order() -> None:
    nested = "--classes.water 7 --classes.field 1 -4 --classes.rest 0".split()
    given = parse(["split", "--images", "i", "--masks", "m", "--out", "o", *SPLIT, *nested])
    assert list(given["classes"].items()) == [("water", "7"), ("field", ["1", "-4"]), ("rest", "0")]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--epoch", "3"], "unrecognized arguments: --epoch 3"),
        (["--epochs", "3"], "argument --epochs: given twice"),
        (["--no-augment"], "argument --no-augment: given twice"),
        (["--options.SGD.a", "1", "--options.SGD.a", "1"], "argument --options.SGD.a: given twice"),
        (["--options.SGD.a", "--no-options.SGD.a"], "argument --no-options.SGD.a: given twice"),
        (["--classes.field", "1"], "unrecognized arguments: --classes.field"),
    ],
)
def test_wrong_usage_ends_with_status_2(extra: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*TRAIN, *extra])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_flag_left_out_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    argv = [word for word in TRAIN if word != "--augment"]
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert "required: --augment/--no-augment" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--epochz", "3"],
        ["train"],
        ["trian"],
        [],
        ["demo", "--scenes"],
        ["explain"],
        ["demo", "--options.a", "1"],
    ],
)
def test_wrong_usage_takes_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The usage of a stage alone is thirty lines, in which the fault would be the last."""
    with pytest.raises(SystemExit) as stop:
        main(words)
    told = capsys.readouterr().err
    assert stop.value.code == 2
    assert told.count("\n") == 1
    assert told.endswith("; see python -m fieldgap --help\n") or f"python -m fieldgap {words[0]} --help" in told


@pytest.mark.parametrize("path", ["grid", "train", "grid.init", "train.options"])
def test_under_snakemake_a_block_that_is_none_is_refused_with_the_same_message(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError) as before:
        check(edited(path, 3))
    with pytest.raises(InputError) as under:
        settings_of(edited(path, 3))
    assert str(under.value) == str(before.value)
    assert str(before.value).startswith(f"{path}: 3 is not allowed")


def test_a_reader_who_has_enough_gets_no_complaint(scenes: Path) -> None:
    """As when `| head -1` ends before all is written."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "fieldgap", "check", str(scenes)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def loaded(code: str) -> set[str]:
    """The slow libraries that a piece of code loads."""
    code = f"{code}\nprint(*({{'torch', 'mlflow', 'pandas', 'cv2', 'yaml', 'pydantic'}} & set(sys.modules)))"
    command = [sys.executable, "-c", f"import sys, contextlib\n{code}"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[-2].split())


def test_the_command_line_loads_no_slow_library_before_a_stage_runs() -> None:
    front = "from fieldgap import cli\nfrom fieldgap.engines.commandline import arguments, parse\n"
    assert loaded(f"{front}with contextlib.suppress(SystemExit): cli.main(['--help'])") == set()
    typed = f"given = parse({TRAIN}); arguments(cli.STAGES[given.pop('stage')], given)"
    assert loaded(f"{front}{typed}; from fieldgap.engines import results") == {"pydantic"}
