"""Command ui: the MLflow UI of the local store, for this machine only, and a mirror of the trainings under way."""

from __future__ import annotations

import os
import shlex
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
HOSTS = "127.0.0.1:*,localhost:*"  # Requests for other names are refused, against DNS rebinding.


def run(params: Path) -> None:
    """Replace this process by the UI, at port 5000 or MLFLOW_PORT.

    Raises:
        InputError: The store is a server, which has its own UI.
    """
    record = read(params).record
    if record.store.startswith(("http://", "https://")):
        raise InputError(f"record.store: {record.store} is a server; open that address")
    Store(record.store, record.experiment).open()  # Under our lock. MLflow creates a store without one.
    fieldgap = [sys.executable, "-m", "fieldgap"]
    subprocess.Popen([*fieldgap, "watch", "--spools", str(names.SPOOLS), *shlex.split(flags(asdict(record)))])  # noqa: S603
    ui = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", record.store]
    os.execve(  # noqa: S606
        sys.executable,
        [*ui, "--host", "127.0.0.1", "--allowed-hosts", HOSTS, "--workers", "1"],
        {**os.environ, **OFF, "MLFLOW_DISABLE_TELEMETRY": "true"},
    )
