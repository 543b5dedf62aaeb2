"""MLflow is imported in one place, with our settings."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from fieldgap.engines.rooms import PACKAGE

DOORS = {Path("tracking/client.py"), Path("tracking/served.py")}  # MLflow loads the second by itself.
# CI systems and pytest switch telemetry off by themselves.
TELEMETRY = """
import os
from fieldgap.tracking import registry, upload
import mlflow.telemetry.utils as utils
utils._IS_IN_CI_ENV_OR_TESTING = False
print(utils.is_telemetry_disabled(), os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"])
"""


def modules_imported(path: Path) -> Iterator[str]:
    """Yield what a file imports when it runs, not for type checking."""
    tree = ast.parse(path.read_bytes())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


def test_only_the_client_and_the_served_model_import_mlflow() -> None:
    importing = {
        path.relative_to(PACKAGE)
        for path in PACKAGE.rglob("*.py")
        if any(name.split(".")[0] == "mlflow" for name in modules_imported(path))
    }
    assert importing == DOORS


def test_mlflow_sends_no_telemetry_and_draws_no_progress_bars() -> None:
    ours = ("CI", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR")
    env = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run([sys.executable, "-c", TELEMETRY], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "True false\n"
