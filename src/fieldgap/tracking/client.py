"""MLflow, imported with our settings. Other modules import it from here, since it reads some of them when it is loaded.

The exception is `served.py`, which MLflow loads by itself.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

# Settings alone say where records go. These variables are meant for other programs: they would send records elsewhere,
# or from a thread that ends before it has sent them, or have long values refused.
os.environ.pop("MLFLOW_TRACKING_URI", None)
os.environ.pop("MLFLOW_REGISTRY_URI", None)
os.environ.pop("MLFLOW_WORKSPACE_STORE_URI", None)
os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
os.environ.pop("MLFLOW_EXPERIMENT_NAME", None)
os.environ.pop("MLFLOW_RUN_ID", None)
os.environ.pop("MLFLOW_ACTIVE_MODEL_ID", None)
os.environ.pop("MLFLOW_ENABLE_ASYNC_LOGGING", None)
os.environ.pop("MLFLOW_TRUNCATE_LONG_VALUES", None)
os.environ.pop("_MLFLOW_SERVER_ARTIFACT_ROOT", None)
# Or it copies a project's uv.lock into a model, which then asks for fieldgap.
os.environ["MLFLOW_UV_AUTO_DETECT"] = "false"
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # By default it gives up after four minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

import mlflow
import mlflow.entities
import mlflow.models
import mlflow.types

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

__all__ = ["mlflow", "system_metrics"]


def system_metrics(run_id: str, uri: str) -> SystemMetricsMonitor:
    """Return a monitor that logs this machine's load to a run until its `finish` is called.

    It is started, and numbers its samples on from those that the run already has.
    """
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
    monitor.start()
    return monitor
