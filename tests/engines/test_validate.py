"""Bad values stop either engine before any stage runs, in the same words."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from conftest import ROOT, call
from dvc.repo import Repo
from edits import edited
from projects import SMALL, configure

from fieldgap.base.errors import InputError
from fieldgap.cli import main
from fieldgap.engines import validate

AXES = ["init", "warmup_epochs", "seed"]
GRAPH = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
EVIL = {"SGD": {"momentum$(touch pwned)": 0.9}}
BAD: list[tuple[str, object, str]] = [
    ("train.schedule", "cosin", "train.schedule: 'cosin' is not allowed (did you mean cosine?); write"),
    ("train.augment", "maybe", "train.augment: 'maybe' is not allowed; write true or false"),
    ("train.epohcs", 3, "train.epohcs: no such key (did you mean epochs?)"),
    ("demo.seed", "no", "demo.seed: 'no' is not allowed; write a whole number, 0 or more"),
    ("grid.seed", [0, 0], "grid.seed: [0, 0] has a value twice; remove one"),
    ("grid.seed", [], "grid.seed: [] is not allowed; write a list like [a, b]"),
    ("grid.init", ["glorot"], "grid.init: 'glorot' is not allowed"),
    ("train.options", EVIL, "options.SGD: 'momentum$(touch pwned)' is not a name"),
    (
        "data.classes",
        {"a;touch pwned": [0], "b": [1]},
        "data.classes.a;touch pwned: a class name may only have letters",
    ),
    ("data.images", "i", "i: no such folder; set data.images"),
]


def validated(folder: Path, params: object) -> int:
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (folder / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    return main(["validate", "--params", "params.yaml", "--out", "validated"])


@pytest.mark.parametrize(("path", "value", "message"), BAD)
def test_what_is_wrong_is_said_in_one_message(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    path: str,
    value: object,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert validated(tmp_path, edited(path, value)) == 1
    assert capsys.readouterr().err.startswith(f"fieldgap validate: {message}")
    assert not (tmp_path / "validated").exists()


def test_good_values_write_the_same_file_whatever_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written = []
    for lr in (0.1, 0.2):
        assert validated(tmp_path, edited("train.lr", lr)) == 0
        written.append((tmp_path / "validated").read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("axes", [[*AXES, "lr"], AXES[:2], AXES[::-1]])
def test_a_matrix_without_an_axis_is_named_with_the_lines_to_write(axes: list[str]) -> None:
    lines = "".join(f"\n      {axis}: ${{grid.{axis}}}" for axis in axes)
    with pytest.raises(InputError) as refused:
        validate.check_axes(axes, GRAPH)
    assert str(refused.value).startswith("dvc.yaml: stage train must have the axes of params.yaml")
    assert str(refused.value).endswith(f"write\n    matrix:{lines}")
    mended = {
        name: {**stage, "matrix": dict.fromkeys(axes)} if "matrix" in stage else stage for name, stage in GRAPH.items()
    }
    validate.check_axes(axes, mended)


def test_every_stage_of_dvc_waits_for_the_check(project: Path) -> None:
    with Repo(str(project)) as repo:
        stages = {stage.name: {str(dep.def_path) for dep in stage.deps} for stage in repo.index.stages}
    first = stages.pop("validate")
    assert {path for path in first if not path.startswith("src/")} == {"params.yaml"}
    assert [name for name, deps in stages.items() if str(validate.VALIDATED) not in deps] == []


@pytest.mark.usefixtures("warm_tools")
@pytest.mark.slow
def test_a_bad_value_stops_both_engines_though_other_stages_stand(project: Path) -> None:
    """The first due stage is then a training, whose command line has the bad key."""
    configure(project, SMALL)
    call(project, "dvc", "repro", "normalize")
    for path, value, message in BAD:
        block, key = path.split(".")
        before = (project / "params.yaml").read_text()
        configure(project, {block: {key: value}})
        for command in (("snakemake", "--cores", "1"), ("dvc", "repro")):
            done = call(project, *command, check=False)
            told = done.stdout + done.stderr
            assert done.returncode, command
            assert message in told, command
            assert "Running stage 'train" not in told
            assert "usage:" not in told
        (project / "params.yaml").write_text(before)
    assert not (project / "pwned").exists()
    assert not (project / "runs").exists()


@pytest.mark.usefixtures("warm_tools")
@pytest.mark.slow
def test_a_new_axis_without_its_line_in_the_matrix_trains_nothing(project: Path) -> None:
    configure(project, SMALL)
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["grid"]["lr"] = [params["train"].pop("lr")]
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    done = call(project, "dvc", "repro", check=False)
    assert done.returncode
    assert "dvc.yaml: stage train must have the axes of params.yaml" in done.stderr
    assert not (project / "data").exists()


def test_a_configuration_runs_no_code_in_snakemake(project: Path) -> None:
    (project / "params.yaml").write_text(
        "__use_yte__: true\n?open('pwned', 'w'): 1\n" + (ROOT / "params.yaml").read_text()
    )
    done = call(project, "snakemake", "--dry-run", check=False)
    assert done.returncode == 1
    assert "__use_yte__ would run what the file says as code" in done.stdout + done.stderr
    assert not (project / "pwned").exists()


@pytest.mark.parametrize("engine", [("snakemake", "--dry-run"), ("dvc", "repro", "validate")])
def test_a_file_that_is_not_ascii_is_read_under_any_locale(
    project: Path, engine: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("experiment: fieldgap", "experiment: Größe"), encoding="utf-8")
    call(project, *engine)
