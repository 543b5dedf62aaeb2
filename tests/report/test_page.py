"""The page in a real browser: with and without scripts, with hostile names, in dark mode, on a phone and on paper."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import acted_upon, browse, document_of, needs_browser, without_policy, without_scripts
from conftest import JUDGE
from made import made_run, save_run, save_tiles, scene_counts

from fieldgap.base.names import FIGURES
from fieldgap.report import report
from fieldgap.report.charts.style import PALETTE
from fieldgap.report.page import environment, policy, scripts

SHOWN = len(FIGURES) - 1  # The chart of divergence needs rates crossed with warm-up.
MARK = "document.documentElement.dataset.pwned=1"
OPENINGS = ("", '">', "'>", "</script>", "</style>", "</title>", "-->", "]]>", "</svg>", "&quot;>", "`;", "\\';")
BODIES = (
    f"<script>{MARK}</script>",
    f"<img src=x onerror={MARK}>",
    f"<svg onload={MARK}>",
    f"<details open ontoggle={MARK}>x",
    f"<input autofocus onfocus={MARK}>",
    f"<iframe srcdoc='<script>parent.{MARK}</script>'></iframe>",
    f"<video><source onerror={MARK}></video>",
    f"{{{{constructor.constructor('{MARK}')()}}}}",
    f"'+({MARK})+'",
)
PAYLOADS = [opening + body for opening, body in itertools.product(OPENINGS, BODIES)][:100]


def small_report(folder: Path) -> str:
    """Return the page of eight runs written by hand, over two axes."""
    save_tiles(folder / "tiles", ["north", "south"])
    grid = {}
    for number, (init, warmup, seed) in enumerate(itertools.product(["kaiming_normal", "orthogonal"], [0, 3], [0, 1])):
        run = made_run({"init": init, "warmup_epochs": warmup, "seed": seed}, test_iou=0.5 + 0.01 * (number * 5 % 8))
        save_run(folder / "runs", run, folder / "tiles")
        grid[run.name] = run.axes
    report.run(folder / "runs", folder / "tiles", folder / "reports", grid, JUDGE, "0" * 64)
    return (folder / "reports/index.html").read_text()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_report(tmp_path_factory.mktemp("small"))


def hostile_runs(folder: Path) -> str:
    """Return the page of 104 runs whose names carry one payload each, all of them, and whose values carry some."""
    save_tiles(folder / "tiles", ["north", "south"])
    grid = {}
    points = itertools.product(["".join(PAYLOADS[:4]), "".join(PAYLOADS[4:8])], [0.1, 1.0], [0, 3], range(13))
    for number, (init, lr, warmup, seed) in enumerate(points):
        run = made_run({"init": init, "lr": lr, "warmup_epochs": warmup, "seed": seed}, test_iou=0.5 + number / 300)
        name = f"{number} {PAYLOADS[number % 100].replace('/', '')}"
        save_run(folder / "runs", dataclasses.replace(run, name=name), folder / "tiles")
        grid[name] = run.axes
    report.run(folder / "runs", folder / "tiles", folder / "reports", grid, JUDGE, "0" * 64)
    return (folder / "reports/index.html").read_text()


def hostile_scenes(folder: Path) -> str:
    """Return the page of four runs with a scene for each payload, and two classes that carry half of them each."""
    save_tiles(folder / "tiles", PAYLOADS)
    counts = {name: [[30 + i, 10], [5, 55]] for i, name in enumerate(PAYLOADS)}
    rows = scene_counts(counts, ["".join(PAYLOADS[:50]), "".join(PAYLOADS[50:])])
    grid = {}
    for number, (lr, warmup) in enumerate(itertools.product([0.1, 1.0], [0, 3])):
        run = made_run({"lr": lr, "warmup_epochs": warmup, "seed": 0}, test_iou=0.5 + number / 300)
        save_run(folder / "runs", dataclasses.replace(run, scenes=rows), folder / "tiles")
        grid[run.name] = run.axes
    report.run(folder / "runs", folder / "tiles", folder / "reports", grid, JUDGE, "0" * 64)
    return (folder / "reports/index.html").read_text()


@needs_browser
def test_all_figures_become_live_charts_under_the_policy(page: str, tmp_path: Path) -> None:
    document = document_of(page, tmp_path)
    assert len(re.findall(r'<svg[^>]*class="marks"', document)) == SHOWN
    assert len(re.findall(r'<div class="chart[^"]*vega-embed', document)) == SHOWN


def test_the_page_does_not_mention_a_population_if_scenes_are_the_users_own(page: str) -> None:
    text = without_scripts(page)
    assert "The gap" in text
    assert "opulation" not in text
    assert "fresh" not in text


def test_the_policy_names_each_script_by_its_digest_and_allows_no_evaluation(page: str) -> None:
    stated = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert stated
    assert stated[1].replace("&#39;", "'") == policy(scripts())
    assert "unsafe-eval" not in policy(scripts())
    assert policy(["x"]) != policy(["y"])


@needs_browser
def test_the_policy_stops_a_script_that_got_in(page: str, tmp_path: Path) -> None:
    """Without it the script runs, so the tests of escaping below would notice one."""
    broken = page.replace("<main>", f"<main><script>{MARK}</script><img src=x onerror={MARK}>")
    assert "data-pwned" not in document_of(broken, tmp_path / "kept")
    assert "data-pwned" in document_of(without_policy(broken), tmp_path / "lost")


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("hostile", [hostile_runs, hostile_scenes])
def test_a_hundred_payloads_in_names_of_runs_classes_and_files_run_nothing(
    hostile: Callable[[Path], str], tmp_path: Path
) -> None:
    """Even without the policy, by escaping only; all charts are there, too."""
    assert len(set(PAYLOADS)) == 100
    document = document_of(without_policy(hostile(tmp_path / "made")), tmp_path)
    assert "data-pwned" not in document
    assert len(re.findall(r'<div class="chart[^"]*vega-embed', document)) == SHOWN + 1


@pytest.mark.parametrize("template", ["index.html.j2", "summary.md.j2"])
def test_templates_escape_by_default(template: str) -> None:
    assert environment().from_string("{{ name }}").render(name=BODIES[0]).startswith("&lt;script")
    assert environment().get_template(template).environment.autoescape is True


@needs_browser
def test_without_scripts_the_page_still_has_its_figures_and_tables(page: str, tmp_path: Path) -> None:
    still = without_scripts(page)
    assert len(re.findall(r'<svg[^>]*class="marks"', still)) == SHOWN
    (tmp_path / "still.html").write_text(still)
    flags = ("--window-size=1100,6000", f"--screenshot={tmp_path / 'page.png'}")
    browse(tmp_path / "still.html", tmp_path / "profile", *flags)
    pixels = cv2.imread(str(tmp_path / "page.png"))[:, :, ::-1].reshape(-1, 3)
    for colour in PALETTE[:2]:
        assert (pixels == list(bytes.fromhex(colour[1:]))).all(1).sum() > 500, colour


@needs_browser
def test_a_click_sorts_a_table_by_numbers_and_another_reverses_it(page: str, tmp_path: Path) -> None:
    column = 5  # test IoU
    click = f"document.querySelector('table.sortable th:nth-child({column + 1}) button').click();"

    def column_of(document: str) -> list[float]:
        table = document[document.index('id="variants"') :]
        rows = re.findall(r"<tr>(<td.*?)</tr>", table[: table.index("</table>")], re.DOTALL)
        return [float(re.findall(r'<td[^>]*?data-value="([^"]*)"', row)[column - 3]) for row in rows]

    before = column_of(document_of(page, tmp_path / "no"))
    assert before != sorted(before)
    assert column_of(document_of(acted_upon(page, click), tmp_path / "one")) == sorted(before)
    assert column_of(document_of(acted_upon(page, click + click), tmp_path / "two")) == sorted(before)[::-1]


@needs_browser
def test_a_click_in_a_legend_highlights_a_variant(page: str, tmp_path: Path) -> None:
    click = (
        "document.querySelector('#gap .role-legend-symbol path')"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true, view: window}));"
    )

    def faint(document: str) -> int:
        figure = document[document.index('id="gap"') :]
        return figure[: figure.index("</svg>")].count('opacity="0.06"')

    assert faint(document_of(page, tmp_path / "before")) == 0
    assert faint(document_of(acted_upon(page, click), tmp_path / "after")) > 0


def picture(html: str, folder: Path, *flags: str) -> np.ndarray:
    folder.mkdir()
    (folder / "page.html").write_text(html)
    browse(folder / "page.html", folder / "profile", *flags, f"--screenshot={folder / 'page.png'}")
    return cv2.imread(str(folder / "page.png"))


@needs_browser
def test_the_page_is_dark_for_readers_who_prefer_dark(page: str, tmp_path: Path) -> None:
    light = picture(page, tmp_path / "light", "--window-size=900,1200")
    dark = picture(page, tmp_path / "dark", "--window-size=900,1200", "--blink-settings=preferredColorScheme=0")
    assert np.median(light) > 240
    assert np.median(dark) < 40
    assert (dark > 245).all(2).mean() < 0.01, "a chart is white"


@needs_browser
def test_on_a_phone_the_page_is_no_wider_than_the_screen(page: str, tmp_path: Path) -> None:
    """Headless windows cannot be narrower than 500 px, so a frame of 390 px plays the phone."""
    measure = (
        "document.title = 'width ' + document.querySelector('iframe').contentDocument.documentElement.scrollWidth;"
    )
    (tmp_path / "inner.html").write_text(without_policy(page))
    outer = f"<iframe src='inner.html' width=390 height=800></iframe><script>onload = () => {{{measure}}}</script>"
    (tmp_path / "outer.html").write_text(outer)
    dom = browse(tmp_path / "outer.html", tmp_path / "profile", "--allow-file-access-from-files", "--dump-dom")
    width = re.search(r"<title>width (\d+)</title>", dom)
    assert width
    assert int(width[1]) <= 390


@needs_browser
def test_the_page_prints_on_a_few_sheets(page: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page)
    browse(
        tmp_path / "page.html",
        tmp_path / "profile",
        f"--print-to-pdf={tmp_path / 'page.pdf'}",
        "--no-pdf-header-footer",
    )
    pages = len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "page.pdf").read_bytes()))
    assert 3 <= pages <= 14
