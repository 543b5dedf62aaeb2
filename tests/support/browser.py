"""Open pages in headless Chromium: to get the document that their scripts make, or a picture."""

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
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium; see CONTRIBUTING.md")


def browse(page: Path, profile: Path, *flags: str) -> str:
    """Return what Chromium prints about a page with these flags."""
    command = [str(CHROMIUM), *QUIET.split(), f"--user-data-dir={profile}", *flags, page.absolute().as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout


def document_of(html: str, folder: Path) -> str:
    """Return the document that a page's scripts make, without the scripts themselves."""
    folder.mkdir(exist_ok=True)
    (folder / "page.html").write_text(html, encoding="utf-8")
    dom = browse(folder / "page.html", folder / "profile", "--dump-dom")
    return re.sub(r"<script.*?</script>", "", dom, flags=re.DOTALL)


def without_policy(html: str) -> str:
    """Return a page without its content security policy, so that only its escaping protects it."""
    bare, count = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    assert count == 1
    return bare


def without_scripts(html: str) -> str:
    """Return a page as a browser without scripts shows it."""
    return re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)


def acted_upon(html: str, script: str) -> str:
    """Return a page with one more script, which acts as a reader would once the charts are drawn."""
    added = f"<script>window.addEventListener('load', () => setTimeout(() => {{{script}}}, 3000));</script>"
    body, end, rest = without_policy(html).rpartition("</body>")  # The chart library also contains this tag.
    return body + added + end + rest
