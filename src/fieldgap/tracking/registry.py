"""The best run of an ablation as a registered model: safetensors and code, no pickle.

Champions are compared only where that is fair, on the same tiles of the validation split. The best one so far has the
alias `champion-<digest of these tiles>`, and that of the tiles last recorded is `champion` too.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fieldgap.tracking.client import mlflow
from fieldgap.tracking.shipped import NEEDED, pinned

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

    from fieldgap.tracking.outbox import Entry
    from fieldgap.tracking.shipped import Model
    from fieldgap.tracking.store import Store

ALIAS = "champion"
METRIC = "final_val_iou"
# Tags of a version: the digest of the entry that it was made from, the keys of the run and of its ablation, the run's
# name, the digest of the tiles that it was validated on, and its metric.
DIGEST, KEY, ABLATION, RUN, TILES = (f"fieldgap.{tag}" for tag in ("digest", "key", "ablation", "run", "val_tiles"))
CODE = Path(__file__).with_name("served.py")
ARTIFACTS = {"weights": "weights.safetensors", "config": "config.json"}


def register_champion(store: Store, run: Run, entry: Entry, model: Model) -> None:
    """Register the model of an ablation's best run, and have the aliases name the best that is known.

    The model gets a new version unless one has the entry's digest already. Stderr tells what may surprise: that a
    better model of the same tiles stays the champion, or that `champion` moves on to other tiles.
    """
    aliases = {alias: str(number) for alias, number in store.registered_model().aliases.items()}
    versions = {str(each.version): each for each in _versions(store)}
    digest = entry.digest()
    new = next((each for each in versions.values() if each.tags.get(DIGEST) == digest), None)
    new = new or _new_version(store, run, entry, model, digest)
    of_tiles = f"{ALIAS}-{new.tags[TILES][:8]}"
    best = versions.get(aliases.get(of_tiles, ""), new)
    if _replaces(new, best):
        best = new
    else:
        _tell(
            f"champion of {store.model}: {_told(best)} stays, because {_told(new)}, the best run of its ablation, is "
            "poorer on the same validation tiles"
        )
    _point(store, aliases, of_tiles, best)
    if entry.tags.get("current") == "true":
        earlier = versions.get(aliases.get(ALIAS, ""), best)
        if (tiles := earlier.tags.get(TILES, "")) != best.tags[TILES]:
            kept = f", which has other validation tiles and remains {store.model}@{ALIAS}-{tiles[:8]}" if tiles else ""
            _tell(f"champion of {store.model}: {_told(best)} takes the place of {_told(earlier)}{kept}")
        _point(store, aliases, ALIAS, best)


def _versions(store: Store) -> list[ModelVersion]:
    return list(store.ask(store.client.search_model_versions, f"name = '{store.model}'"))


def _replaces(new: ModelVersion, old: ModelVersion) -> bool:
    """Whether a version is no poorer than another of the same tiles, or the present choice in the same ablation."""
    if new.tags[ABLATION] == old.tags.get(ABLATION):
        return True
    return float(new.tags[METRIC]) >= float(old.tags.get(METRIC, "-inf"))


def _told(version: ModelVersion) -> str:
    tags = version.tags
    told = f"{tags[RUN]}, validation IoU {float(tags[METRIC]):.4f}" if METRIC in tags else "without a metric"
    return f"version {version.version} ({told})"


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _point(store: Store, aliases: Mapping[str, str], alias: str, version: ModelVersion) -> None:
    if aliases.get(alias) != str(version.version):
        store.ask(store.client.set_registered_model_alias, store.model, alias, version.version)


def _new_version(store: Store, run: Run, entry: Entry, model: Model, digest: str) -> ModelVersion:
    with saved_model({Path(path).name: path for path in entry.files}, model) as folder:
        store.ask(store.client.log_artifacts, run.info.run_id, str(folder), "model")
    value, _ = entry.finals[METRIC]
    tags = {
        DIGEST: digest,
        KEY: entry.key,
        ABLATION: entry.parent,
        RUN: entry.name,
        TILES: next(data["digest"] for data in entry.inputs if data["context"] == "val"),
        METRIC: repr(value),
    }
    return store.ask(
        store.client.create_model_version,
        store.model,
        f"{run.info.artifact_uri}/model",
        run.info.run_id,
        tags=tags,
        description=f"Run {entry.name}, the best of the best variant ({entry.tags.get('variant')}) of its ablation, "
        f"with a validation IoU of {value:.4f}.",
    )


@contextlib.contextmanager
def saved_model(files: Mapping[str, str], model: Model) -> Iterator[Path]:
    """Yield a temporary folder with an MLflow model.

    It has no signature, because MLflow would then accept one kind of request only; the model checks requests itself.

    Args:
        files: Paths of the run's files by their names.
        model: What it needs beside them.
    """
    with tempfile.TemporaryDirectory() as temporary:
        code, folder = Path(temporary) / "code", Path(temporary) / "model"
        for place, text in model["code"].items():
            path = code / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        # MLflow takes no link as an artifact, and with `cache.type symlink` DVC makes some.
        artifacts = {name: shutil.copy(files[file], temporary) for name, file in ARTIFACTS.items()}
        # The code is an artifact, since MLflow keeps its code_paths on sys.path, where they hide an installed fieldgap.
        mlflow.pyfunc.save_model(
            folder,
            python_model=CODE,
            artifacts={**artifacts, "code": str(code)},
            model_config={"tile": model["tile"], "classes": model["classes"]},
            pip_requirements=sorted([*map(pinned, NEEDED), *model["packages"]]),
        )
        yield folder
