"""The names of the files that stages write, for all who read them, and the places that a project and DVC have."""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterator
from pathlib import Path

from fieldgap.base.errors import InputError

# Stage normalize: the packed tiles, and what lies beside them.
TILES = ("images.npy", "masks.npy", "tiles.csv", "mask_report.json")
LEAKAGE = "leakage.csv"
FRESH = "fresh.npz"

# Stages train and evaluate, for each run.
TRAINED = ("config.json", "history.csv", "steps.csv", "weights.safetensors", "best.safetensors", "status.json")
EVALUATED = ("metrics.json", "scenes.csv", "calibration.csv", "predictions.npz")
SPOOLS = Path(".fieldgap/spool")  # In the working folder, in which every stage runs.

# Stage report: its figures by the heading under which `snakemake --report` shows them, then all its files.
CATEGORIES = {
    "The answer": ("verdict", "effects", "interactions", "divergence"),
    "The gap": ("gap", "errors", "gap_ends", "splits", "naive"),
    "Where it fails": ("scenes", "calibration", "disagreement"),
    "Training": ("rates",),
}
FIGURES = tuple(figure for figures in CATEGORIES.values() for figure in figures)
REPORTED = (
    *(f"{folder}/{name}.{end}" for folder, end in (("figures", "svg"), ("png", "png")) for name in FIGURES),
    *(f"captions/{name}.rst" for name in FIGURES),
    *("index.html", "summary.md", "summary.json", "ablation.csv", "gap.csv", "effects.csv", "pairs.csv"),
)


def lock_of(spool: Path) -> Path:
    """Return the lock that a training holds while it writes this spool."""
    return spool.with_suffix(".lock")


def project() -> Path:
    """Return the folder of the project: this one, unless it is a workspace that DVC made for an experiment below it."""
    here = Path.cwd()
    exps = next((folder for folder in here.parents if folder.parts[-3:] == (".dvc", "tmp", "exps")), None)
    return exps.parents[2] if exps else Path()


def store_file(uri: str) -> Path | None:
    """Return the file of an MLflow store in SQLite; a relative one lies in the project. None for other stores."""
    name = uri.removeprefix("sqlite:///").partition("?")[0]
    return project() / name if uri.startswith("sqlite:///") and name else None


def _dvc_configs(home: Path) -> Iterator[Path]:
    """Yield the files of DVC's configuration: of the system, the user, the project and this machine."""
    yield Path(os.environ.get("DVC_SYSTEM_CONFIG_DIR", "/etc/xdg/dvc"), "config")
    own = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config", "dvc")
    yield Path(os.environ.get("DVC_GLOBAL_CONFIG_DIR", own), "config").expanduser()
    yield home / ".dvc/config"
    yield home / ".dvc/config.local"


def dvc_option(section: str, name: str, home: Path = Path()) -> tuple[str, Path]:
    """Return the value of an option of DVC in a project, or "", and the folder of the file that says so.

    Raises:
        InputError: A file of the configuration cannot be read.
    """
    found = "", home / ".dvc"
    for path in _dvc_configs(home):
        config = configparser.ConfigParser(interpolation=None, inline_comment_prefixes="#")
        try:
            config.read(path, encoding="utf-8")
        except (OSError, ValueError, configparser.Error) as error:
            raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())}); mend it") from None
        if value := config.get(section, name, fallback=""):
            found = value.strip("\"'"), path.parent
    return found


def dvc_cache(home: Path = Path()) -> Path:
    """Return the folder of DVC's cache that holds files by their digests."""
    place, folder = dvc_option("cache", "dir", home)
    return folder / Path(place or "cache").expanduser() / "files/md5"
