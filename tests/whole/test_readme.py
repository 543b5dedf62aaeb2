"""The documents keep their promises: links lead somewhere, commands exist, and tables agree with the code."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, call
from projects import SMALL, configure

from fieldgap.engines.rooms import ROOMS
from fieldgap.engines.stages import COMMANDS
from fieldgap.parts.inits import INITS
from fieldgap.parts.losses import LOSSES
from fieldgap.parts.schedules import SCHEDULES

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks/RESULTS.md"]


def commands(document: Path) -> list[list[str]]:
    """Return the words of each command in a document's shell blocks, without comments."""
    return commands_in(document.read_text())


def commands_in(text: str) -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [words for line in "".join(blocks).splitlines() if (words := shlex.split(line, comments=True))]


def prose(document: Path) -> str:
    """Return the text of a document without its blocks of code, where brackets are no links and # no headings."""
    return re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub gives a document's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def broken_links(document: Path) -> list[str]:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
            broken.append(link)
    return broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(document: Path) -> None:
    assert broken_links(document) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "## A `b`, c\n[1](#a-b-c) [2](page.md#a-b-c) [3](http://x/y) [4](page.md#d) [5](gone.md)\n"
        "```sh\n# d\nx[1](y)\n```\n"
    )
    assert broken_links(page) == ["page.md#d", "gone.md"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_name_what_exists(document: Path) -> None:
    """Check targets of make, commands of fieldgap, and files given to programs."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in commands(document):
        if words[0] == "make":
            assert set(words[1:]) <= targets, words
        if words[:3] == ["python", "-m", "fieldgap"]:
            assert words[3] in {*COMMANDS, "--help"}, words
        for word in words:
            if re.fullmatch(r"(params|benchmarks|docs)/\S+", word):
                assert (ROOT / word).exists(), words


def test_readme_lists_the_parts_in_their_order() -> None:
    """Parts that were added at the end of a registry may be missing."""
    text = (ROOT / "README.md").read_text()
    for key, names in (("init", INITS), ("schedule", SCHEDULES), ("loss", LOSSES)):
        row = re.search(rf"^\| `{key}` \| ([\w, ]+)", text, re.MULTILINE)
        assert row
        listed = re.findall(r"\w+", row[1].split(" and ")[0])
        assert listed == list(names)[: len(listed)]


def table(document: str, header: str) -> dict[str, list[str]]:
    """Return the rows of a document's table below a header: the cells after the first one, by the first one."""
    rows = (ROOT / document).read_text().split(f"{header}\n", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    cells = ([cell.strip(" `") for cell in row.strip("|").split("|")] for row in rows)
    return {first: rest for first, *rest in cells}


def test_contributing_lists_the_rooms_and_what_they_may_import() -> None:
    listed = table("CONTRIBUTING.md", "| room | what lives there | may import |")
    allowed = runpy.run_path(str(ROOT / "tests/engines/test_rooms.py"))["MAY_IMPORT"]
    words = {"any room": "*", "nothing": ""}
    found = {room: words.get(rooms, rooms.replace(",", "")) for room, (_, rooms) in listed.items()}
    assert found == {room: rooms for room, rooms in allowed.items() if room != "__main__"}


def test_the_page_on_engines_lists_the_rooms_of_each_stage() -> None:
    listed = table("docs/engines.md", "| stage | rooms |")
    found = {stage: tuple(rooms.split(", ")) for stages, (rooms,) in listed.items() for stage in stages.split(", ")}
    assert found == ROOMS


def test_the_readme_commands_of_the_engines_can_be_typed_in_a_fresh_clone(project: Path) -> None:
    """Let Snakemake plan them. DVC cannot plan before a first run, so only its parameters are checked."""
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
        planned = call(project, "snakemake", "--dry-run", "--configfile", str(path), "--config", data).stdout
        assert "train" in planned, path.name


@pytest.mark.usefixtures("warm_tools")
@pytest.mark.slow
def test_the_page_on_own_data_can_be_followed(
    project: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Run its commands word for word, except for the path, on a folder like the one in its example."""
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
