"""What the documents promise: their commands exist, their files are there."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, call
from projects import SMALL, configure

from fieldgap.engines.stages import COMMANDS
from fieldgap.parts.inits import INITS
from fieldgap.parts.losses import LOSSES
from fieldgap.parts.schedules import SCHEDULES

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(document: Path) -> list[list[str]]:
    """-> the words of each command in a document's shell blocks, without comments."""
    return commands_in(document.read_text())


def commands_in(text: str) -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [words for line in "".join(blocks).splitlines() if (words := shlex.split(line, comments=True))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_linked_files_exist(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text())
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_name_what_exists(document: Path) -> None:
    """Targets of make, stages of the command line, and files that are given to programs."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in commands(document):
        if words[0] == "make":
            assert set(words[1:]) <= targets, words
        if words[:3] == ["python", "-m", "fieldgap"]:
            assert words[3] in {*COMMANDS, "--help"}, words
        for word in words:
            if re.fullmatch(r"(params|benchmarks|docs)/\S+", word):
                assert (ROOT / word).exists(), words


def test_readme_lists_every_part() -> None:
    text = (ROOT / "README.md").read_text()
    for key, names in (("init", INITS), ("schedule", SCHEDULES), ("loss", LOSSES)):
        listed = re.search(rf"^\| `{key}` \| ([\w, ]+)", text, re.MULTILINE)
        assert listed
        assert re.findall(r"\w+", listed[1].split(" and ")[0]) == list(names)


def test_the_map_names_every_source_file() -> None:
    text = (ROOT / "README.md").read_text()
    for path in (ROOT / "src/fieldgap").glob("*.py"):
        if not path.name.startswith("__"):
            assert f"{path.name}" in text, path.name


def test_the_readme_commands_of_the_engines_can_be_typed_in_a_fresh_clone(project: Path) -> None:
    """Snakemake plans them; DVC cannot plan before a first run, so its parameters alone are looked up."""
    ran = []
    for words in commands(ROOT / "README.md"):
        if words[0] == "snakemake" and "--configfile" not in words:
            call(project, *words, "--dry-run")
            ran.append("snakemake")
        elif words[:3] == ["dvc", "exp", "run"]:
            key = words[words.index("-S") + 1].split("=")[0]
            block, name = key.split(".")
            assert name in yaml.safe_load((project / "params.yaml").read_text())[block]
            ran.append("dvc exp run")
    assert set(ran) == {"snakemake", "dvc exp run"}


def test_shipped_configurations_are_valid(project: Path) -> None:
    for path in sorted((ROOT / "params").glob("*.yaml")):
        images, masks = project / "i", project / "m"
        for folder, name in ((images, "a.png"), (masks, "a_mask.png")):
            folder.mkdir(exist_ok=True)
            (folder / name).touch()
        data = f"data={{images: {images}, masks: {masks}}}"
        told = call(project, "snakemake", "--dry-run", "--configfile", str(path), "--config", data)
        assert "train" in told.stdout, path.name


@pytest.mark.slow
def test_the_page_on_own_data_can_be_followed(
    project: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its commands are typed as they stand, but for the path, on a folder like that of its example."""
    folder = tmp_path_factory.mktemp("own") / "scenes"
    shutil.copytree(scenes, folder)
    page = (ROOT / "docs/your-data.md").read_text().replace("/path/to/folder", str(folder))
    first, *more = re.findall(r"```yaml\n# mine.yaml\n(.*?)```", page, re.DOTALL)
    check, run = commands_in(page)
    assert call(project, *check).stdout.endswith(first)
    configure(project, SMALL)
    (project / "mine.yaml").write_text(first)
    call(project, *run)
    assert (project / "reports/index.html").exists()
    for block in more:
        (project / "more.yaml").write_text(block)
        planned = call(project, *run, "more.yaml", "--dry-run").stdout
        assert len(set(re.findall(r"wildcards: run=(\S+)", planned))) == 4 * len(
            next(iter(yaml.safe_load(block)["grid"].values()))
        )
