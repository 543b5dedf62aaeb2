from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import pandas as pd
import pytest
from conftest import TINY

from fieldgap import evaluate, report, train
from fieldgap.errors import InputError
from fieldgap.figures import PALETTE
from fieldgap.settings import Evaluate, expand

GRID = expand({"init": ["kaiming_normal", "xavier_normal"], "warmup_epochs": [0, 1], "seed": [0, 1]})


@pytest.fixture(scope="module")
def runs(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of GRID, trained and evaluated. Read only."""
    folder = tmp_path_factory.mktemp("runs")
    for name, axes in GRID.items():
        train.run(tiles, folder / name, dataclasses.replace(TINY, **axes))  # type: ignore[arg-type]
        evaluate.run(tiles, folder / name, Evaluate(device="cpu"))
    return folder


@pytest.fixture(scope="module")
def reports(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    report.run(runs, folder, GRID)
    return folder


class Page(HTMLParser):
    """The text of the tables' cells, and whatever the page would load from elsewhere."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.loads: list[str] = []
        self.cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.cell = True
            self.rows[-1].append("")
        self.loads += [
            str(value) for name, value in attrs if name in ("src", "href") and not str(value).startswith("#")
        ]

    def handle_endtag(self, tag: str) -> None:
        self.cell = self.cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.cell:
            self.rows[-1][-1] += data


def test_all_promised_files_are_there_and_nothing_else(reports: Path) -> None:
    found = sorted(path.relative_to(reports).as_posix() for path in reports.rglob("*") if path.is_file())
    figures = [f"figures/{name}.svg" for name in ("effects", "errors", "gap", "rates")]
    assert found == ["ablation.csv", "effects.csv", *figures, "gap.csv", "index.html", "summary.json"]


def test_the_page_loads_nothing_from_elsewhere(reports: Path) -> None:
    page = Page((reports / "index.html").read_text())
    assert page.loads == []
    assert (reports / "index.html").stat().st_size < 5_000_000


def test_the_table_of_variants_holds_the_numbers_of_ablation_csv(reports: Path) -> None:
    table = pd.read_csv(reports / "ablation.csv")
    rows = {row[0]: row for row in Page((reports / "index.html").read_text()).rows if row}
    for variant, group in table.groupby("variant"):
        shown = rows[str(variant)]
        assert shown[1] == "2"
        for cell, column in zip(shown[2:], report.SHOWN, strict=True):
            assert cell == f"{group[column].mean():.4f} ± {group[column].std():.4f}"


def test_the_tables_hold_the_numbers_of_the_runs(runs: Path, reports: Path) -> None:
    table, gap = pd.read_csv(reports / "ablation.csv"), pd.read_csv(reports / "gap.csv")
    assert list(table["run"]) == list(GRID)
    for row in table.itertuples():
        metrics = json.loads((runs / str(row.run) / "metrics.json").read_text())
        assert row.test_iou == metrics["test"]["iou"]
        assert row.gap_val_iou == metrics["gap"]["val"]["iou"]
        assert row.best_val_iou == metrics["best"]["val"]["iou"]
    history = pd.read_csv(runs / "kaiming_normal-0-0/history.csv")
    rows = gap[gap["run"] == "kaiming_normal-0-0"]
    assert (rows["gap"] == (1 - history["val_iou"]) - (1 - history["train_iou"])).all()


def test_the_summary_names_each_variant_once(reports: Path) -> None:
    found = json.loads((reports / "summary.json").read_text())
    assert next(iter(found)) == "kaiming_normal-0"
    table = pd.read_csv(reports / "ablation.csv")
    expected = table.groupby("variant", sort=False)["test_iou"].mean().to_list()
    assert [row["test_iou"] for row in found.values()] == pytest.approx(expected, abs=1e-15)


def test_the_same_runs_give_the_same_bytes(runs: Path, reports: Path, tmp_path: Path) -> None:
    report.run(runs, tmp_path, GRID)
    for path in reports.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / path.relative_to(reports)).read_bytes(), path.name


def test_curves_that_agree_share_a_line_and_others_do_not(reports: Path) -> None:
    svg = (reports / "figures/rates.svg").read_text()
    labels = set(re.findall(r">([^<]*warmup_epochs[^<]*)<", svg))
    assert labels == {f"init kaiming_normal, warmup_epochs {n} | init xavier_normal, warmup_epochs {n}" for n in (0, 1)}


@pytest.mark.parametrize("axes", [["seed"], ["init"], ["lr", "seed"]])
def test_grids_of_other_shapes_have_a_report_too(tiles: Path, tmp_path: Path, axes: list[str]) -> None:
    levels: dict[str, list[Any]] = {"seed": [0, 1], "init": ["kaiming_normal", "xavier_normal"], "lr": [0.01, 0.1, 0.2]}
    grid = expand({axis: levels[axis] for axis in axes})
    for name, point in grid.items():
        train.run(tiles, tmp_path / "runs" / name, dataclasses.replace(TINY, epochs=2, **point))  # type: ignore[arg-type]
        evaluate.run(tiles, tmp_path / "runs" / name, Evaluate(device="cpu"))
    report.run(tmp_path / "runs", tmp_path / "reports", grid)
    assert len(list((tmp_path / "reports/figures").iterdir())) == 4
    effects = pd.read_csv(tmp_path / "reports/effects.csv")
    assert len(effects) == {"seed": 0, "init": 5, "lr": 10}[axes[0]]


def test_names_are_escaped() -> None:
    html = report.page_template().render(
        runs=[],
        axes=["<script>alert(1)</script>"],
        effects=[],
        variants=[],
        words=report.WORDS,
        svgs={},
        specifications={},
        bundle="",
    )
    assert "<script>alert" not in html


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"
)


def browse(page: Path, profile: Path, *flags: str) -> str:
    command = [str(CHROMIUM), *QUIET.split(), f"--user-data-dir={profile}", *flags, page.absolute().as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.skipif(not CHROMIUM, reason="no chromium to draw the page in; see CONTRIBUTING.md")
def test_the_page_replaces_its_figures_by_live_charts_in_a_browser(reports: Path, tmp_path: Path) -> None:
    dom = browse(reports / "index.html", tmp_path, "--virtual-time-budget=10000", "--dump-dom")
    charts = re.sub(r"<script.*?</script>", "", dom, flags=re.DOTALL)
    assert len(re.findall(r'<svg[^>]*class="marks"', charts)) == 4
    assert len(re.findall(r'<div class="chart[^"]*vega-embed', charts)) == 4


@pytest.mark.skipif(not CHROMIUM, reason="no chromium to draw the page in; see CONTRIBUTING.md")
def test_without_script_the_figures_are_there_all_the_same(reports: Path, tmp_path: Path) -> None:
    """A picture of the page without its scripts holds pixels of the first two colours of the palette."""
    html = (reports / "index.html").read_text()
    (tmp_path / "still.html").write_text(re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL))
    flags = ("--window-size=1100,2600", f"--screenshot={tmp_path / 'page.png'}")
    browse(tmp_path / "still.html", tmp_path / "profile", *flags)
    pixels = cv2.imread(str(tmp_path / "page.png"))[:, :, ::-1].reshape(-1, 3)
    for colour in PALETTE[:2]:
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels == rgb).all(1).sum() > 500, colour


def test_a_missing_run_is_named(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    (tmp_path / "runs/xavier_normal-1-0/metrics.json").unlink()
    with pytest.raises(
        InputError, match=r"xavier_normal-1-0/metrics\.json: missing; train and evaluate this run first"
    ):
        report.run(tmp_path / "runs", tmp_path / "reports", GRID)
    assert not (tmp_path / "reports").exists()


def test_a_run_of_another_value_is_refused(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "xavier_normal-1-0", tmp_path / "xavier_normal-1-7")
    with pytest.raises(InputError, match="was trained with seed 0, not 7"):
        report.run(
            tmp_path, tmp_path / "reports", expand({"init": ["xavier_normal"], "warmup_epochs": [1], "seed": [7]})
        )
