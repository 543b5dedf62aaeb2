"""Take the pictures of the MLflow UI in docs/mlflow.md: python scripts/screenshots.py ADDRESS FOLDER.

The UI must run at ADDRESS, on a store with the default ablation. Tests drive the UI with the same class.
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
EMPTY = ("Dataset", "Source", "Models")  # Columns that the UI shows by default. They are empty here.
FLAGS = "--headless=new --no-sandbox --disable-gpu --no-first-run --window-size=1500,1000"
# Without a mouse, toolbars that appear on hover would cover the charts all the time.
MOUSE = "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4"
SECONDS = 60  # A busy machine needs half a minute for a page.
SETTLE_SECONDS = 15  # Charts and columns do not say when they are complete.
CELLS = """
const rows = {};
for (const cell of document.querySelectorAll("[role=row][row-id] [role=gridcell]")) {
  const row = rows[cell.closest("[role=row]").getAttribute("row-id")] ??= {};
  row[cell.getAttribute("col-id")] = cell.innerText;
}
return rows;
"""


def shown(element: WebElement) -> bool:
    """Return whether an element is visible."""
    return element.is_displayed()


class Page:
    """The UI in a headless Chromium. Call `close` in the end."""

    def __init__(self, address: str) -> None:
        options = Options()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (*FLAGS.split(), MOUSE):
            options.add_argument(flag)
        self.address, self.browser = address, Chrome(options, Service(shutil.which("chromedriver")))

    def until(self, found: Callable[[Chrome], T | None]) -> T:
        """Return the first result that is not None. The UI may replace elements while they are being examined."""
        passing = (StaleElementReferenceException, ElementClickInterceptedException)
        return WebDriverWait(self.browser, SECONDS, ignored_exceptions=passing).until(found)

    def find(self, xpath: str) -> WebElement:
        """Return the first visible element of an XPath, and wait for it if need be."""
        return self.until(lambda browser: next(filter(shown, browser.find_elements(By.XPATH, xpath)), None))

    def click(self, xpath: str) -> None:
        """Click the first visible element of an XPath."""

        def clicked(browser: Chrome) -> bool | None:
            for element in filter(shown, browser.find_elements(By.XPATH, xpath)):
                element.click()
                return True
            return None

        self.until(clicked)

    def open(self) -> None:
        """Open the table of the current ablation's runs, without the panels for language models."""
        self.browser.get(f"{self.address}/#/experiments/1/runs?searchFilter={quote(CURRENT)}")
        self.find("//*[contains(text(), 'matching run')]")
        self.click("//button[@data-component-id='mlflow.assistant.chat_panel.close']")
        self.click("//*[normalize-space(text())='Model training']")
        self.find("//*[@role='row'][@row-id]")

    def group(self, parameter: str) -> None:
        """Group the table by a parameter."""
        self.click("//button[contains(., 'Group by')]")
        self.click(f"//*[@role='menuitemcheckbox'][normalize-space(.)='{parameter}']")
        self.escape()
        self.find("//*[@role='row'][starts-with(@row-id, 'param.')]")

    def columns(self, names: Sequence[str]) -> None:
        """Show these columns in the table, and hide those in `EMPTY`."""
        self.click("//button[contains(., 'Columns')]")
        for name in (*EMPTY, *names):
            self.find("//input[@placeholder='Search columns']").send_keys(Keys.CONTROL, "a", Keys.NULL, name)
            node = f"//*[contains(@class, 'tree-treenode')][normalize-space(.)='{name}']"
            self.click(f"{node}//*[contains(@class, 'tree-checkbox')]")
        self.escape()
        self.find(f"//*[@role='columnheader'][normalize-space(.)='{names[-1]}']")

    def widen(self, names: Sequence[str]) -> None:
        """Make columns as wide as their content."""
        for name in names:
            edge = f"//*[@role='columnheader'][contains(@col-id, '`{name}`')]//*[contains(@class, 'cell-resize')]"
            ActionChains(self.browser).double_click(self.find(edge)).perform()

    def rows(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return the texts in some columns by run (`kaiming_normal-0-1`) and by group (`Group: 0`)."""

        def whole(browser: Chrome) -> dict[str, dict[str, str]] | None:
            found = {}
            for cells in browser.execute_script(CELLS).values():
                texts = {re.sub(r"^\w+\.`(.*)`$", r"\1", column): text for column, text in cells.items()}
                if not all(texts.get(name) for name in ("Run Name", *names)):
                    return None
                label = next(
                    line for line in texts["Run Name"].split("\n") if not line.startswith("#")
                )  # Skip the colour.
                found[label] = {name: texts[name] for name in names}
            return found

        return self.until(whole)

    def chart(self, metric: str) -> None:
        """Show charts instead of the table, of the metrics whose names match."""
        self.click("//label[.//input[@name='runs-view-mode'][@value='CHART']]")
        self.find("//input[@placeholder='Search metric charts']").send_keys(metric)

    def ablation(self) -> None:
        """Open the run of the ablation, the last row of the grouped table, and expand its note."""
        self.click("//*[@role='row'][contains(@row-id, '.[')]//a")
        self.click("//button[normalize-space(.)='Show more']")

    def escape(self) -> None:
        """Close an open menu."""
        self.browser.find_element(By.TAG_NAME, "body").send_keys(Keys.ESCAPE)

    def close(self) -> None:
        """End the browser."""
        self.browser.quit()


def draw(page: Page, folder: Path) -> None:
    """Write mlflow-table.png, mlflow-groups.png and mlflow-ablation.png."""

    def save(name: str) -> None:
        time.sleep(SETTLE_SECONDS)
        page.browser.save_screenshot(str(folder / f"mlflow-{name}.png"))

    page.open()
    page.group("warmup_epochs")
    page.columns(["init", "warmup_epochs", "final_gap_val_iou", "final_val_iou"])
    page.widen(["warmup_epochs", "final_val_iou", "final_gap_val_iou"])  # From the right: each moves those behind it.
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
