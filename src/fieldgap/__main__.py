"""Run the command line: python -m fieldgap.

In the folder of a project, its own sources run. The trap: fieldgap is installed from one checkout, and its code would
run in a second checkout, too, and in the workspaces that DVC makes for queued experiments, whatever was edited there.
"""

import os
import sys
from pathlib import Path


def change_to_own_sources() -> None:
    """Start this program again from the project's own sources, unless they are those that run."""
    source = Path("src").resolve()
    is_project = Path("Snakefile").is_file() or Path("dvc.yaml").is_file()
    if not (is_project and (source / "fieldgap/__main__.py").is_file()):
        return
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if source == Path(__file__).resolve().parents[1] or others[0] == str(source):
        return
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(source), *others]))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - these very words started it.


if __name__ == "__main__":
    change_to_own_sources()

    from fieldgap.cli import main

    sys.exit(main(sys.argv[1:]))
