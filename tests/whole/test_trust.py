"""Foreign files and values are only data: none of them runs code, and none reaches outside its own folders."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import os
import pickle  # To write files that must never be unpickled.
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, TINY, call, run_training
from edits import edited

from fieldgap.analysis.runs import read_run
from fieldgap.base.errors import InputError
from fieldgap.base.files import read_json, write_json
from fieldgap.evaluation import evaluate
from fieldgap.parts.registry import find
from fieldgap.settings.params import check
from fieldgap.settings.params import read as read_params
from fieldgap.settings.sections import Evaluate
from fieldgap.tiles.packed import load
from fieldgap.training import checkpoints

CANARY = Path("canary")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Evil:
    """An object that creates the folder `canary` when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return os.mkdir, (str(CANARY),)


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil()))


def torch_saved(path: Path) -> None:
    torch.save({"weight": Evil()}, path)


def object_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([Evil()], dtype=object), allow_pickle=True)


def yaml_tagged(path: Path) -> None:
    path.write_text(f"!!python/object/apply:os.mkdir [{CANARY}]\n")


HOSTILE = [pickled, torch_saved, object_array, yaml_tagged]


def test_the_canary_fires_when_it_is_unpickled() -> None:
    """Show that the canary works; without it, the tests below would prove nothing."""
    for write, read in (
        (pickled, lambda path: pickle.loads(path.read_bytes())),  # noqa: S301
        (torch_saved, lambda path: torch.load(path, weights_only=False)),
        (object_array, lambda path: np.load(path, allow_pickle=True)),
        (yaml_tagged, lambda path: yaml.unsafe_load(path.read_text())),
    ):
        write(Path("hostile"))
        read(Path("hostile"))
        assert CANARY.exists()
        CANARY.rmdir()


@pytest.fixture
def run(tiles: Path) -> Path:
    """A trained and evaluated run, with its tiles next to it."""
    shutil.copytree(tiles, "tiles")
    run_training(Path("tiles"), Path("run"), TINY)
    evaluate.run(Path("tiles"), Path("run"), Evaluate(device="cpu"))
    return Path("run")


@pytest.mark.parametrize("write", HOSTILE)
def test_no_file_of_tiles_or_runs_is_executed(run: Path, write: Callable[[Path], None]) -> None:
    """Replace each file in turn and read it as the stages do: an error or a meaningless table, but no canary."""
    for path in sorted([*run.iterdir(), *Path("tiles").iterdir()]):
        good = path.read_bytes()
        write(path)
        for read in (
            lambda: load(Path("tiles")),
            lambda: evaluate.run(Path("tiles"), run, Evaluate(device="cpu")),
            lambda: read_run(run, {}),
        ):
            try:
                read()
            except (InputError, ValueError, KeyError):
                continue
        assert not CANARY.exists(), path
        path.write_bytes(good)


@pytest.mark.parametrize("write", HOSTILE)
def test_a_state_with_a_right_checksum_is_still_no_code(
    tiles: Path, write: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path("hostile"))
    content = Path("hostile").read_bytes()
    planted = Path(f"000000001-{hashlib.sha256(content).hexdigest()}.safetensors")
    planted.write_bytes(content)
    assert checkpoints.newest(Path()) is None
    assert f"{planted}: is damaged" in capsys.readouterr().err
    assert not CANARY.exists()


def test_yaml_of_the_command_line_and_of_both_engines_is_data(project: Path) -> None:
    evil = f"record: !!python/object/apply:os.mkdir [{CANARY}]\n"
    (project / "evil.yaml").write_text(evil)
    with pytest.raises(InputError, match="cannot be read as YAML"):
        read_params(project / "evil.yaml")
    done = call(project, "snakemake", "--dry-run", "--configfile", "evil.yaml", check=False)
    assert done.returncode != 0
    (project / "params.yaml").write_text((project / "params.yaml").read_text().split("record:")[0] + evil)
    done = call(project, "dvc", "repro", check=False)
    assert done.returncode != 0
    assert not CANARY.exists()
    assert not (project / CANARY).exists()


@pytest.mark.parametrize(
    "name", ["os:mkdir", "fieldgap.base.files:write_text", "..evil:f", "/evil:f", "a/b:f", "evil:f\n", ":f"]
)
def test_only_functions_of_files_of_the_project_are_parts(name: str) -> None:
    """A name from a file, such as someone else's config.json, reaches neither a library nor a parent folder."""
    Path("evil.py").write_text(f"import os\nos.mkdir({str(CANARY)!r})\n")
    with pytest.raises(InputError, match=r"write package\.module:function|there is no \S+ in the project's folder"):
        find({}, name)
    assert not CANARY.exists()


def test_a_config_that_names_foreign_code_is_refused(run: Path) -> None:
    config = read_json(run / "config.json")
    write_json(run / "config.json", {**config, "loss": "os:mkdir"})
    with pytest.raises(InputError, match=r"os:mkdir: there is no os\.py"):
        evaluate.run(Path("tiles"), run, Evaluate(device="cpu"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.mask_pattern", "../{stem}.png"),
        ("data.images", "images\x07"),
        ("data.masks", "masks\nmore"),
        ("record.experiment", "a\x1b[2J"),
        ("grid.init", [".."]),
        ("grid.init", ["a/b:f"]),
        ("grid.init", ["../evil:f"]),
        ("train.model", "..:f"),
        ("train.loss", "dice\x00"),
    ],
)
def test_a_name_that_leaves_its_folder_or_does_not_print_is_refused(path: str, value: object) -> None:
    with pytest.raises(InputError) as told:
        check(edited(path, value))
    assert str(told.value).isprintable()


def calls_and_imports(source: Path) -> list[str]:
    """Return what a source file imports and calls, as it is written there."""
    found = []
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            found.append(ast.unparse(node))
    return found


def test_nothing_that_could_execute_a_file_is_called() -> None:
    banned = (
        "pickle",
        "marshal",
        "shelve",
        "dill",
        "joblib",
        "cloudpickle",
        "eval(",
        "exec(",
        "compile(",
        "__import__(",
    )
    banned += ("torch.load(", "torch.hub", "yaml.load(", "yaml.unsafe_load(", "os.system(", "pd.read_pickle(")
    for source in [*(ROOT / "src").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        for each in calls_and_imports(source):
            assert not each.startswith(banned), f"{source}: {each}"
            if each.startswith("np.load("):
                assert "allow_pickle=False" in each, f"{source}: {each}"
            if each.startswith("subprocess."):
                assert "shell=True" not in each, f"{source}: {each}"


def test_a_plain_value_is_taken() -> None:
    assert dataclasses.asdict(check(edited("data.images", "Äcker 2024/images")).data)["images"]
