"""What DVC needs on this machine and no file in git can say: settings in .dvc/config.local, and links in workspaces.

The trap: by default DVC keeps what it remembers of files below /var/tmp, in a folder that all users may write to, and
unpickles it (CVE-2025-69872). Its setting for that folder takes no `~`, and a relative path would count from wherever
DVC is called, as in workspaces of experiments and in sub-folders. So this program writes an absolute one.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

from fieldgap.base.errors import InputError
from fieldgap.base.files import remove_drafts, replacing
from fieldgap.base.names import SPOOLS, dvc_option, project
from fieldgap.engines.receipts import LOG, MIRRORS, RECEIPTS
from fieldgap.engines.stages import STAGES

CONFIG, LOCAL = Path(".dvc/config"), Path(".dvc/config.local")
MEMORY = Path("fieldgap/dvc")  # Below the user's own folder of caches. DVC tells projects apart in there.


def require() -> None:
    """Refuse to work without DVC's folder and its configuration, which says how DVC spells flags.

    Raises:
        InputError: It is missing. The message says how to bring it back; `dvc init` would make another one.
    """
    if CONFIG.is_file():
        return
    lost = CONFIG if CONFIG.parent.is_dir() else CONFIG.parent
    known = {
        f"bring it back: git checkout {lost}": ("ls-files", "--error-unmatch", str(CONFIG)),
        f"bring it back: git checkout HEAD {lost}": ("cat-file", "-e", f"HEAD:./{CONFIG}"),
    }
    mend = next((mend for mend, question in known.items() if _git(*question)), f"copy {lost} from a fresh download")
    raise InputError(f"{lost}: missing, so results cannot be kept; {mend}")


def _git(*question: str) -> bool:
    """Return whether git says yes."""
    try:
        return not subprocess.run(["git", *question], capture_output=True, check=False).returncode  # noqa: S603, S607
    except OSError:
        return False


def set_up() -> None:
    """Prepare the project in the working folder, if there is one. What cannot be written here is left as it is.

    Raises:
        InputError: DVC runs this without its configuration.
    """
    if not CONFIG.parent.is_dir():
        return
    if "DVC_STAGE" in os.environ:
        require()
    remove_drafts([LOCAL.parent])
    with suppress(OSError, InputError):
        _configure(project())
        _share(project())


def memory(home: Path) -> Path:
    """Return a folder for what DVC remembers, which no other user may enter: the user's own, or else the project's."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))  # noqa: PTH111 - raises nothing.
    if caches.is_absolute():
        with suppress(OSError):
            return _private(caches / MEMORY)
    return _private(home.absolute() / ".fieldgap/dvc")


def _private(folder: Path) -> Path:
    for each in (folder, folder / "repo"):  # DVC would make both itself, for everyone to write to.
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
        each.chmod(0o700)
    return folder


def _configure(home: Path) -> None:
    """Write the two settings that depend on this machine, unless the user has chosen another memory."""
    found = {name: dvc_option("core", name, home)[0] for name in ("site_cache_dir", "no_scm")}
    wanted = dict(found)
    if not found["site_cache_dir"] or found["site_cache_dir"].endswith(str(MEMORY)):
        wanted["site_cache_dir"] = str(memory(home))
    above = (home.absolute(), *home.absolute().parents)
    wanted["no_scm"] = "" if any((folder / ".git").exists() for folder in above) else "true"
    if changed := {name: value for name, value in wanted.items() if value != found[name]}:
        _write(home / LOCAL, changed)


def _write(path: Path, core: dict[str, str]) -> None:
    from configobj import ConfigObj  # DVC's own reader of these files.

    local = ConfigObj(str(path), encoding="utf-8")
    kept = {name: value for name, value in local.get("core", {}).items() if name not in core}
    local["core"] = kept | {name: value for name, value in core.items() if value}
    with replacing(path) as draft, draft.open("wb") as file:
        local.write(file)


def _share(home: Path) -> None:
    """Have a workspace of an experiment use the receipts and the spools of its project.

    Then no experiment does what is known already, and its trainings are seen while they run. DVC removes the workspace
    when the experiment ends.
    """
    if home == Path():
        return
    for folder in (SPOOLS, *(RECEIPTS / stage for stage in STAGES if stage not in MIRRORS)):
        (home / folder).mkdir(parents=True, exist_ok=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _link(folder, home / folder)
    _link(LOG, home / LOG)


def _link(path: Path, target: Path) -> None:
    with suppress(FileExistsError):
        path.symlink_to(target)
