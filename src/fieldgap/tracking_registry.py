"""The best run as a registered model: safetensors and code, without pickle, under the alias `champion`."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow import MlflowException, pyfunc
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec

if TYPE_CHECKING:
    from mlflow.entities import Run

    from fieldgap.parcels import Parcel
    from fieldgap.tracking_store import Store

DIGEST = "fieldgap.digest"


@contextlib.contextmanager
def packed(files: dict[str, str], model: dict[str, Any]) -> Iterator[Path]:
    """Yields a folder that holds an MLflow model of a run's files, by name, and of `model`: its tile and classes."""
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string, "mask"),
        *(ColSpec(DataType.double, name) for name in model["classes"][1:]),
    ]
    with tempfile.TemporaryDirectory() as folder:
        pyfunc.save_model(
            Path(folder) / "model",
            python_model=str(Path(__file__).with_name("tracking_model.py")),
            artifacts={"weights": files["weights.safetensors"], "config": files["config.json"]},
            model_config=model,
            signature=ModelSignature(Schema([ColSpec(DataType.string, "image")]), Schema(outputs)),
            pip_requirements=[f"fieldgap=={version('fieldgap')}"],
        )
        yield Path(folder) / "model"


def crown(store: Store, run: Run, parcel: Parcel, digest: str) -> None:
    """Registers the run's model under the experiment's name, once for its digest, and makes it the champion."""
    client, name = store.client, store.name
    with contextlib.suppress(MlflowException):  # It is there already, as a rule.
        store.ask(client.create_registered_model, name)
    versions = store.ask(client.search_model_versions, f"name = '{name}'")
    number = next((each.version for each in versions if each.tags.get(DIGEST) == digest), None)
    if number is None:
        with packed({Path(path).name: path for path in parcel.files}, parcel.model) as folder:
            store.ask(client.log_artifacts, run.info.run_id, str(folder), "model")
        source = f"{run.info.artifact_uri}/model"
        made = store.ask(client.create_model_version, name, source, run.info.run_id, tags={DIGEST: digest})
        number = made.version
    if store.ask(client.get_registered_model, name).aliases.get("champion") != number:
        store.ask(client.set_registered_model_alias, name, "champion", number)
