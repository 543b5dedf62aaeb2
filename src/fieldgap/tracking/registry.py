"""The best run as a registered model with the alias `champion`: safetensors and code, no pickle."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldgap.tracking.client import mlflow

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.models import ModelSignature

    from fieldgap.tracking.outbox import Entry
    from fieldgap.tracking.store import Store

ALIAS = "champion"
DIGEST = "fieldgap.digest"  # The tag with the digest of the entry that a version was made from.
CODE = Path(__file__).with_name("served.py")
ARTIFACTS = {"weights": "weights.safetensors", "config": "config.json"}
# A black PNG of one pixel with four bands, for the example of a request that MLflow keeps with a model.
EXAMPLE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAACklEQVQIHWMAAQAABQABim28IAAAAABJRU5ErkJggg=="


def register_champion(store: Store, run: Run, entry: Entry) -> None:
    """Make the model of a run the champion. It gets a new version unless one has the entry's digest already."""
    digest, champion = entry.digest(), store.registered_model().aliases.get(ALIAS)
    versions = store.ask(store.client.search_model_versions, f"name = '{store.name}'")
    number = next((each.version for each in versions if each.tags.get(DIGEST) == digest), None)
    if number is None:
        number = _new_version(store, run, entry, digest)
    if str(champion) != str(number):
        store.ask(store.client.set_registered_model_alias, store.name, ALIAS, number)


def _new_version(store: Store, run: Run, entry: Entry, digest: str) -> str:
    with saved_model({Path(path).name: path for path in entry.files}, entry.model) as folder:
        store.ask(store.client.log_artifacts, run.info.run_id, str(folder), "model")
    source = f"{run.info.artifact_uri}/model"
    tags = {DIGEST: digest}
    return store.ask(store.client.create_model_version, store.name, source, run.info.run_id, tags=tags).version


@contextlib.contextmanager
def saved_model(files: Mapping[str, str], config: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a temporary folder with an MLflow model.

    Args:
        files: Paths of the run's files by their names.
        config: The size of the model's tiles and its classes, which it gets as its model_config.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        mlflow.pyfunc.save_model(
            folder,
            python_model=CODE,
            artifacts={name: files[file] for name, file in ARTIFACTS.items()},
            model_config=dict(config),
            signature=signature(config["classes"]),
            input_example=[{"image": EXAMPLE}],
            pip_requirements=[f"{name}=={version(name)}" for name in ("mlflow", "fieldgap")],
        )
        yield folder


def signature(classes: list[str]) -> ModelSignature:
    """Return the columns that the model accepts and answers with."""
    columns = {"mask": "string", **dict.fromkeys(classes[1:], "double")}
    return mlflow.models.ModelSignature(
        inputs=mlflow.types.Schema([mlflow.types.ColSpec("string", "image")]),
        outputs=mlflow.types.Schema([mlflow.types.ColSpec(kind, name) for name, kind in columns.items()]),
    )
