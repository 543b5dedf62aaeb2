"""An MLflow server with PostgreSQL and artifacts of its own, for this machine alone.

Everything lies below one folder and stays there; passwords are drawn at the first start and readable by its owner only.
PostgreSQL is taken from the system (Debian's package `postgresql`), its Python side and the sign-in from the extra
`server`: pip install "fieldgap[server]".
"""

from __future__ import annotations

import argparse
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.create_server((HOST, 0)) as taken:
        return int(taken.getsockname()[1])


def secret(path: Path) -> str:
    """-> the password kept in a file, drawn when there is none yet."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
    return path.read_text()


def program(name: str) -> str:
    """-> the newest of Debian's installed versions, which are not on the path, or what the path holds."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    path = str(found[-1]) if found else shutil.which(name)
    if not path:
        sys.exit(f"{name}: not found; install PostgreSQL, on Debian: apt-get install postgresql")
    return path


class Postgres:
    """A cluster in a folder. It refuses to run as root, so root starts it as the system's user `postgres`."""

    def __init__(self, folder: Path) -> None:
        self.data, self.port = folder / "postgres", free_port()
        self.password = secret(folder / "postgres.password")
        self.user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        if not self.data.exists():
            self.data.mkdir(mode=0o700)
            with tempfile.NamedTemporaryFile("w") as file:
                file.write(self.password)
                file.flush()
                for path in (self.data, file.name) if self.user else ():
                    os.chown(path, self.user.pw_uid, self.user.pw_gid)
                self.call("initdb", "--username", "mlflow", "--auth", "scram-sha-256", "--pwfile", file.name)
        options = f"-p {self.port} -c listen_addresses={HOST} -c unix_socket_directories=''"
        self.call("pg_ctl", "start", "--wait", "--log", str(self.data / "log"), "--options", options)

    def call(self, name: str, *arguments: str) -> None:
        command = [program(name), "--pgdata", str(self.data), *arguments]
        if self.user:
            command = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups", *command]
        # Its output goes to a file: the server inherits the pipe of pg_ctl, whose reader would wait for its end.
        with (self.data.parent / "postgres.log").open("a") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log, cwd="/")

    @property
    def uri(self) -> str:
        return f"postgresql://mlflow:{self.password}@{HOST}:{self.port}/postgres"

    def stop(self) -> None:
        self.call("pg_ctl", "stop", "--wait", "--mode", "fast")


def sign_in(folder: Path) -> dict[str, str]:
    """-> the environment of a server that asks who is there: user admin, password in admin.password."""
    path = folder / "auth.ini"
    path.touch(mode=0o600)
    path.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder / 'auth.db'}\n"
        f"admin_username = admin\nadmin_password = {secret(folder / 'admin.password')}\n"
        "auth_cache_ttl_seconds = 60\n"  # Else each request derives its key from the password anew, which takes long.
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    return {"MLFLOW_AUTH_CONFIG_PATH": str(path), "MLFLOW_FLASK_SERVER_SECRET_KEY": secret(folder / "flask.secret")}


def start(folder: Path, port: int, uri: str, auth: bool) -> subprocess.Popen[bytes]:
    """-> MLflow's process. Its address of the database holds a password, so it travels outside the command line."""
    env = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        **(sign_in(folder) if auth else {}),
    }
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "2"]
    command += [
        "--allowed-hosts",
        f"{HOST}:{port},localhost:{port}",
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
    with (folder / "mlflow.log").open("a") as log:
        return subprocess.Popen(
            [*command, *(["--app-name", "basic-auth"] if auth else [])], env=env, stdout=log, stderr=log
        )


def wait(process: subprocess.Popen[bytes], address: str, folder: Path) -> None:
    """Returns when the server answers; ends this program when it cannot."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=1):
                return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.2)
    sys.exit(f"the server did not start; {folder / 'mlflow.log'} says why")


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where everything lies")
    parser.add_argument("--port", type=int, default=5001)
    parser.add_argument("--auth", action="store_true", help="ask for user and password; user admin is made")
    given = parser.parse_args(argv)
    folder = given.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    postgres = Postgres(folder)
    try:
        process = start(folder, given.port, postgres.uri, given.auth)
        try:
            wait(process, f"http://{HOST}:{given.port}", folder)
            print(f"http://{HOST}:{given.port}", flush=True)
            process.wait()
        finally:
            process.terminate()
            process.wait()
    finally:
        postgres.stop()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(0)
