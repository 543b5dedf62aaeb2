"""Command ui: the MLflow UI of the local store, for this machine only, and a mirror of the trainings under way."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from fieldgap.base import names
from fieldgap.base.errors import InputError
from fieldgap.settings.params import flags, read
from fieldgap.tracking.store import Store

# By default a request may start jobs, and models are read as pickles.
OFF = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
# With these, MLflow would show another store.
OTHER_STORES = (
    "MLFLOW_REGISTRY_STORE_URI",
    "MLFLOW_READ_REPLICA_BACKEND_STORE_URI",
    "MLFLOW_DEFAULT_ARTIFACT_ROOT",
    "MLFLOW_ARTIFACTS_ONLY",
)
HOST, PORT = "127.0.0.1", "5000"  # MLflow's own port, unless MLFLOW_PORT names another one.
HOSTS = "127.0.0.1:*,localhost:*"  # Requests for other names are refused, against DNS rebinding.


def _check_port() -> None:
    """Refuse a port that MLflow could not serve at, since MLflow says so in a traceback, after it has started."""
    port = os.environ.get("MLFLOW_PORT") or PORT
    try:
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # As MLflow does: old connections do no harm.
            tried.bind((HOST, int(port)))
            return
    except OSError as error:
        fault = f"cannot be had ({error.strerror})"
    except (ValueError, OverflowError):
        fault = "is not a number up to 65535"
    raise InputError(f"port {port}: {fault}; set MLFLOW_PORT to a free port, as in: MLFLOW_PORT=5001 make ui")


def run(params: Path) -> None:
    """Replace this process by the UI, at port 5000 or MLFLOW_PORT.

    Raises:
        InputError: The store is a server, which has its own UI, or cannot be opened, or the port is taken.
    """
    record = read(params).record
    if record.store.startswith(("http://", "https://")):
        raise InputError(f"record.store: {record.store} is a server; open that address")
    _check_port()
    try:
        Store(record.store, record.experiment).open()  # Under our lock. MLflow creates a store without one.
    except Exception as error:  # MLflow's own kinds of error are many.
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"record.store: {record.store} cannot be opened ({reason})") from None
    fieldgap = [sys.executable, "-m", "fieldgap"]
    subprocess.Popen([*fieldgap, "watch", "--spools", str(names.SPOOLS), *shlex.split(flags(asdict(record)))])  # noqa: S603
    ui = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", record.store]
    kept = {name: value for name, value in os.environ.items() if name not in OTHER_STORES}
    os.execve(  # noqa: S606
        sys.executable,
        [*ui, "--host", HOST, "--allowed-hosts", HOSTS, "--workers", "1"],
        {**kept, **OFF, "MLFLOW_DISABLE_TELEMETRY": "true"},
    )
