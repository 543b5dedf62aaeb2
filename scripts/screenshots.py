"""Pictures of the MLflow UI for docs/mlflow.md: `python scripts/screenshots.py ADDRESS FOLDER`, beside a running UI.

The store holds the default ablation. Tests drive the UI by the same class.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from selenium.common.exceptions import ElementClickInterceptedException, StaleElementReferenceException
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

T = TypeVar("T")
CURRENT = "tags.kind = 'run' and tags.current = 'true'"
EMPTY = ("Dataset", "Source", "Models")  # Columns that the UI shows by itself and that say nothing here.
FLAGS = "--headless=new --no-sandbox --disable-gpu --no-first-run --window-size=1500,1000"
# Without a mouse, toolbars that else come under it lie over the charts for good.
MOUSE = "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4"
SECONDS = 60  # A busy machine draws a page of the UI in half a minute.
DRAWN = 15  # Seconds for charts and columns, which do not say when they are done.
CELLS = """
const rows = {};
for (const cell of document.querySelectorAll("[role=row][row-id] [role=gridcell]")) {
  const row = rows[cell.closest("[role=row]").getAttribute("row-id")] ??= {};
  row[cell.getAttribute("col-id")] = cell.innerText;
}
return rows;
"""


def shown(element: WebElement) -> bool:
    return element.is_displayed()


class Page:
    """The UI in a headless Chromium. Close it."""

    def __init__(self, address: str) -> None:
        options = Options()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (*FLAGS.split(), MOUSE):
            options.add_argument(flag)
        self.address, self.browser = address, Chrome(options, Service(shutil.which("chromedriver")))

    def until(self, found: Callable[[Chrome], T | None]) -> T:
        """-> what is found, as soon as there is some; the UI may draw a thing anew while it is looked at."""
        passing = (StaleElementReferenceException, ElementClickInterceptedException)
        return WebDriverWait(self.browser, SECONDS, ignored_exceptions=passing).until(found)

    def find(self, xpath: str) -> WebElement:
        """-> the first element of a path that shows, as soon as there is one."""
        return self.until(lambda browser: next(filter(shown, browser.find_elements(By.XPATH, xpath)), None))

    def click(self, xpath: str) -> None:
        def clicked(browser: Chrome) -> bool | None:
            for each in filter(shown, browser.find_elements(By.XPATH, xpath)):
                each.click()
                return True
            return None

        self.until(clicked)

    def open(self) -> None:
        """Opens the table of the current ablation's runs, without what the UI has for language models."""
        self.browser.get(f"{self.address}/#/experiments/1/runs?searchFilter={quote(CURRENT)}")
        self.find("//*[contains(text(), 'matching run')]")
        self.click("//button[@data-component-id='mlflow.assistant.chat_panel.close']")
        self.click("//*[normalize-space(text())='Model training']")
        self.find("//*[@role='row'][@row-id]")

    def group(self, parameter: str) -> None:
        self.click("//button[contains(., 'Group by')]")
        self.click(f"//*[@role='menuitemcheckbox'][normalize-space(.)='{parameter}']")
        self.escape()
        self.find("//*[@role='row'][starts-with(@row-id, 'param.')]")

    def columns(self, names: Sequence[str]) -> None:
        """Shows columns of these names in the table in place of `EMPTY` ones."""
        self.click("//button[contains(., 'Columns')]")
        for name in (*EMPTY, *names):
            self.find("//input[@placeholder='Search columns']").send_keys(Keys.CONTROL, "a", Keys.NULL, name)
            node = f"//*[contains(@class, 'tree-treenode')][normalize-space(.)='{name}']"
            self.click(f"{node}//*[contains(@class, 'tree-checkbox')]")
        self.escape()
        self.find(f"//*[@role='columnheader'][normalize-space(.)='{names[-1]}']")

    def widen(self, names: Sequence[str]) -> None:
        """Gives columns of the table the width of what is in them."""
        for name in names:
            edge = f"//*[@role='columnheader'][contains(@col-id, '`{name}`')]//*[contains(@class, 'cell-resize')]"
            ActionChains(self.browser).double_click(self.find(edge)).perform()

    def rows(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        """-> the texts of columns by run and group, as `kaiming_normal-0-1` and `Group: 0`, once all are there."""

        def whole(browser: Chrome) -> dict[str, dict[str, str]] | None:
            found = {}
            for cells in browser.execute_script(CELLS).values():
                texts = {re.sub(r"^\w+\.`(.*)`$", r"\1", column): text for column, text in cells.items()}
                if not all(texts.get(name) for name in ("Run Name", *names)):
                    return None
                label = next(line for line in texts["Run Name"].split("\n") if not line.startswith("#"))  # No colour.
                found[label] = {name: texts[name] for name in names}
            return found

        return self.until(whole)

    def chart(self, metric: str) -> None:
        """Shows the charts of metrics instead of the table."""
        self.click("//label[.//input[@name='runs-view-mode'][@value='CHART']]")
        self.find("//input[@placeholder='Search metric charts']").send_keys(metric)

    def ablation(self) -> None:
        """Opens the run of the ablation, which stands last in the grouped table, with its whole note."""
        self.click("//*[@role='row'][contains(@row-id, '.[')]//a")
        self.click("//button[normalize-space(.)='Show more']")

    def escape(self) -> None:
        self.browser.find_element(By.TAG_NAME, "body").send_keys(Keys.ESCAPE)

    def close(self) -> None:
        self.browser.quit()


def draw(page: Page, folder: Path) -> None:
    """Writes mlflow-table.png, mlflow-groups.png and mlflow-ablation.png."""

    def save(name: str) -> None:
        time.sleep(DRAWN)
        page.browser.save_screenshot(str(folder / f"mlflow-{name}.png"))

    page.open()
    page.group("warmup_epochs")
    page.columns(["init", "warmup_epochs", "final_gap_val_iou", "final_val_iou"])
    page.widen(["warmup_epochs", "final_val_iou", "final_gap_val_iou"])  # From the right, since each moves the rest.
    save("table")
    page.chart("^(train|val)_iou$")
    save("groups")
    page.ablation()
    save("ablation")


if __name__ == "__main__":
    page = Page(sys.argv[1])
    try:
        draw(page, Path(sys.argv[2]))
    finally:
        page.close()
