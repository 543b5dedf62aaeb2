"""The best run as a registered model: safetensors and code, without pickle, under the alias `champion`."""

from __future__ import annotations

import contextlib
import json
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from mlflow import MlflowException

if TYPE_CHECKING:
    from fieldgap.tracking.outbox import Parcel
    from fieldgap.tracking.store import Store

CODE = Path(__file__).with_name("served.py")
ARTIFACTS = {"weights": "weights.safetensors", "config": "config.json"}
DIGEST = "fieldgap.digest"


def columns(kinds: Mapping[str, str]) -> str:
    """-> a signature's columns as MLflow spells them."""
    return json.dumps([{"name": name, "type": kind, "required": True} for name, kind in kinds.items()])


def description(model: Mapping[str, Any]) -> dict[str, Any]:
    """-> the file MLmodel of a model from code. mlflow.pyfunc writes the same, but takes three seconds to load."""
    shares = dict.fromkeys(model["classes"][1:], "double")
    flavor = {
        "loader_module": "mlflow.pyfunc.loaders.code_model",
        "model_code_path": CODE.name,
        "code": None,
        "artifacts": {name: {"path": f"artifacts/{file}", "uri": file} for name, file in ARTIFACTS.items()},
        "config": dict(model),
        "env": {"virtualenv": "python_env.yaml"},
        "python_version": platform.python_version(),
        "streamable": False,
    }
    return {
        "flavors": {"python_function": flavor},
        "mlflow_version": version("mlflow"),
        "signature": {"inputs": columns({"image": "string"}), "outputs": columns({"mask": "string", **shares})},
    }


@contextlib.contextmanager
def packed(files: Mapping[str, str], model: Mapping[str, Any]) -> Iterator[Path]:
    """Yields a folder that holds an MLflow model of a run's files, by name, and of `model`: its tile and classes."""
    needs = [f"{name}=={version(name)}" for name in ("mlflow", "fieldgap")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "artifacts").mkdir()
        for file in ARTIFACTS.values():
            shutil.copy(files[file], folder / "artifacts")
        shutil.copy(CODE, folder)
        (folder / "MLmodel").write_text(yaml.safe_dump(description(model), sort_keys=False))
        (folder / "requirements.txt").write_text("\n".join(needs) + "\n")
        environment = {"python": platform.python_version(), "dependencies": ["-r requirements.txt"]}
        (folder / "python_env.yaml").write_text(yaml.safe_dump(environment))
        yield folder


def crown(store: Store, run_id: str, parcel: Parcel) -> None:
    """Registers the run's model under the experiment's name, once for its digest, and makes it the champion."""
    client, name, digest = store.client, store.name, parcel.digest()
    with contextlib.suppress(MlflowException):  # It is there already, as a rule.
        store.ask(client.create_registered_model, name)
    versions = store.ask(client.search_model_versions, f"name = '{name}'")
    number = next((each.version for each in versions if each.tags.get(DIGEST) == digest), None)
    if number is None:
        with packed({Path(path).name: path for path in parcel.files}, parcel.model) as folder:
            store.ask(client.log_artifacts, run_id, str(folder), "model")
        source = f"{store.ask(client.get_run, run_id).info.artifact_uri}/model"
        made = store.ask(client.create_model_version, name, source, run_id, tags={DIGEST: digest})
        number = made.version
    if str(store.ask(client.get_registered_model, name).aliases.get("champion")) != str(number):
        store.ask(client.set_registered_model_alias, name, "champion", number)
