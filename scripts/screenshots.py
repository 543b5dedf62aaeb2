"""A picture of the MLflow UI for docs/mlflow.md: `python scripts/screenshots.py ADDRESS FILE`, beside a running UI."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from urllib.parse import quote

from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

CURRENT = "tags.kind = 'run' and tags.current = 'true'"
SECONDS = 60  # A busy machine draws a page of the UI in half a minute.
DRAWN = 25  # Seconds for its charts, which do not say when they are done.


class Page:
    """The UI in a headless Chromium."""

    def __init__(self, address: str) -> None:
        options = Options()
        options.binary_location = shutil.which("chromium") or ""
        for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1500,1150", "--no-first-run"):
            options.add_argument(flag)
        self.address, self.browser = address, Chrome(options, Service(shutil.which("chromedriver")))

    def find(self, xpath: str) -> WebElement:
        """-> the first element of a path that shows, as soon as there is one."""

        def shown(browser: Chrome) -> WebElement | None:
            return next((each for each in browser.find_elements(By.XPATH, xpath) if each.is_displayed()), None)

        return WebDriverWait(self.browser, SECONDS).until(shown)

    def groups(self, parameter: str, metric: str) -> None:
        """Shows the charts of a metric over the current ablation's runs, grouped by a parameter."""
        self.browser.get(f"{self.address}/#/experiments/1/runs?searchFilter={quote(CURRENT)}&compareRunsMode=CHART")
        self.find("//*[contains(text(), 'matching run')]")
        self.find("//button[@data-component-id='mlflow.assistant.chat_panel.close']").click()
        self.find("//*[@data-testid='column-selection-dropdown']").click()
        self.find(f"//*[@role='menuitemcheckbox'][normalize-space(.)='{parameter}']").click()
        self.browser.find_element(By.TAG_NAME, "body").send_keys(Keys.ESCAPE)
        self.find("//input[@placeholder='Search metric charts']").send_keys(metric)


if __name__ == "__main__":
    page = Page(sys.argv[1])
    try:
        page.groups("warmup_epochs", "^val_iou|final_val_iou")
        time.sleep(DRAWN)
        page.browser.save_screenshot(str(Path(sys.argv[2])))
    finally:
        page.browser.quit()
