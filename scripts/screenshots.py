"""Pictures of the MLflow UI for docs/mlflow.md: `python scripts/screenshots.py ADDRESS FOLDER`, beside a running UI."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from urllib.parse import quote

from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

CURRENT = "tags.kind = 'run' and tags.current = 'true'"
SECONDS = 120  # A busy machine draws a page of the UI in half a minute.


class Page:
    """The UI in a headless Chromium."""

    def __init__(self, address: str) -> None:
        options = Options()
        options.binary_location = shutil.which("chromium") or shutil.which("chromium-browser") or ""
        for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1500,1000", "--no-first-run"):
            options.add_argument(flag)
        self.address, self.browser = address, Chrome(options, Service(shutil.which("chromedriver")))

    def find(self, xpath: str) -> WebElement:
        """-> the first element of a path that shows, as soon as there is one."""
        return WebDriverWait(self.browser, SECONDS).until(
            lambda browser: next((each for each in browser.find_elements(By.XPATH, xpath) if each.is_displayed()), False)
        )

    def click(self, xpath: str) -> None:
        self.browser.execute_script("arguments[0].click()", self.find(xpath))

    def runs(self, mode: str, grouped_by: str) -> None:
        """Opens the current ablation's runs, as CHART or TABLE, grouped by a parameter."""
        query = f"searchFilter={quote(CURRENT)}&compareRunsMode={mode}"
        self.browser.get(f"{self.address}/#/experiments/1/runs?{query}")
        self.find("//*[contains(text(), 'matching run')]")
        for each in self.browser.find_elements(By.XPATH, "//button[@data-component-id='mlflow.assistant.chat_panel.close']"):
            self.browser.execute_script("arguments[0].click()", each)
        self.click("//*[@data-testid='column-selection-dropdown']")
        box = self.find("//*[@role='menu']//input | //*[@role='dialog']//input")
        box.send_keys(grouped_by)
        option = f"//*[normalize-space(text())='{grouped_by}' or .//mark[normalize-space(text())='{grouped_by}']]"
        self.find(f"(//*[@role='menuitemcheckbox' or @role='menuitem' or @role='menuitemradio']){option[1:]}").click() if False else None
        self.last_option(grouped_by)

    def last_option(self, name: str) -> None:
        WebDriverWait(self.browser, SECONDS).until(
            lambda browser: [each for each in browser.find_elements(By.XPATH, "//*[starts-with(@role, 'menuitem')]") if name in each.text]
        )[-1].click()

    def picture(self, path: Path) -> None:
        self.browser.save_screenshot(str(path))
