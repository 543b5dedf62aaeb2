"""The page and its summary, rendered from templates that escape whatever is not markup."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent / "templates"


def scripts() -> list[str]:
    """Return the chart library and the page's own script."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return [bundle, (FOLDER / "page.js").read_text(encoding="utf-8")]


def policy(texts: Sequence[str]) -> str:
    """Return a content security policy that lets a page run these scripts and no others, and load nothing."""
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def environment() -> Environment:
    """Return the templates' environment, in which values are escaped unless a template marks them as safe."""
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(values: Mapping[str, Any], figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page.

    Args:
        values: What `context.context` returns.
        figures: The "svg" and the "specification" of each figure, by name.
    """
    texts = scripts()
    template = environment().get_template("index.html.j2")
    return template.render(**values, figures=figures, scripts=texts, policy=policy(texts))


def summary(values: Mapping[str, Any]) -> str:
    """Return the answer as Markdown, for a pull request or for MLflow."""
    return environment().get_template("summary.md.j2").render(**values)
