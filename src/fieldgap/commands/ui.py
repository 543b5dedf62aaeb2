"""The MLflow UI of the local store, for this machine alone, and beside it what mirrors trainings as they run."""

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

# Both are on by default: jobs that requests may start, and models that are read as pickles.
OFF = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
HOSTS = "127.0.0.1:*,localhost:*"  # Other names of this machine are refused, against DNS rebinding.


def run(params: Path) -> None:
    """Becomes the UI, at port 5000 or MLFLOW_PORT. Raises InputError when the store is a server, which has its own."""
    record = read(params).record
    if record.store.startswith(("http://", "https://")):
        raise InputError(f"record.store: {record.store} is a server; open that address")
    Store(record.store, record.experiment).open()  # Under our lock: MLflow and a record that make it at once break it.
    fieldgap = [sys.executable, "-m", "fieldgap"]
    subprocess.Popen([*fieldgap, "watch", "--spools", str(names.SPOOLS), *shlex.split(flags(asdict(record)))])  # noqa: S603
    mlflow = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", record.store]
    os.execve(  # noqa: S606
        sys.executable,
        [*mlflow, "--host", "127.0.0.1", "--allowed-hosts", HOSTS, "--workers", "1"],
        {**os.environ, **OFF, "MLFLOW_DISABLE_TELEMETRY": "true"},
    )
