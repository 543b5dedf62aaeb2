"""Pages in headless Chromium: as a document after its scripts ran, and as a picture."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--hide-scrollbars --virtual-time-budget=20000"
)
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no chromium to draw the page in; see CONTRIBUTING.md")


def browse(page: Path, profile: Path, *flags: str) -> str:
    """-> what Chromium prints of a page with these flags."""
    command = [str(CHROMIUM), *QUIET.split(), f"--user-data-dir={profile}", *flags, page.absolute().as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout


def document_of(html: str, folder: Path) -> str:
    """-> the document that a page becomes once its scripts ran, without their text."""
    folder.mkdir(exist_ok=True)
    (folder / "page.html").write_text(html, encoding="utf-8")
    dom = browse(folder / "page.html", folder / "profile", "--dump-dom")
    return re.sub(r"<script.*?</script>", "", dom, flags=re.DOTALL)


def without_policy(html: str) -> str:
    """-> the page with nothing but its escaping to protect it."""
    found, count = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    assert count == 1
    return found


def without_scripts(html: str) -> str:
    """-> the page as a browser without scripts shows it."""
    return re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)


def acted_upon(html: str, script: str) -> str:
    """-> the page, free to run scripts, with one more that acts as a reader would once the charts are there."""
    added = f"<script>window.addEventListener('load', () => setTimeout(() => {{{script}}}, 3000));</script>"
    body, end, rest = without_policy(html).rpartition("</body>")  # The library's text holds one, too.
    return body + added + end + rest
