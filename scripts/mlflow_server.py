"""Run an MLflow server for this machine only, with its own PostgreSQL and artifacts in one folder.

The first start creates the folder's passwords, which only its owner can read. You need PostgreSQL (Debian's package
`postgresql`) and the extra `server`: pip install "fieldgap[server]".
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
    """Return a port of this machine that nothing listens on."""
    with socket.create_server((HOST, 0)) as server:
        return int(server.getsockname()[1])


def secret(path: Path) -> str:
    """Return the password in a file, and create it if the file is missing."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
    return path.read_text()


def program(name: str) -> str:
    """Return the path of a PostgreSQL program. Debian keeps its versions off the PATH; the newest one is taken."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    path = str(versions[-1]) if versions else shutil.which(name)
    if not path:
        sys.exit(f"{name}: not found; install PostgreSQL, on Debian: apt-get install postgresql")
    return path


class Postgres:
    """A running PostgreSQL. It refuses to run as root, so root starts it as the system's user `postgres`."""

    def __init__(self, folder: Path) -> None:
        """Start it, and create its data in `folder` the first time."""
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
        """Run one of PostgreSQL's programs on the data."""
        command = [program(name), "--pgdata", str(self.data), *arguments]
        if self.user:
            command = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups", *command]
        # Not through a pipe: the server inherits it from pg_ctl, and a reader would wait until the server ends.
        with (self.data.parent / "postgres.log").open("a") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log, cwd="/")

    @property
    def uri(self) -> str:
        """The address of the database, with its password."""
        return f"postgresql://mlflow:{self.password}@{HOST}:{self.port}/postgres"

    def stop(self) -> None:
        """Stop it without waiting for its clients."""
        self.call("pg_ctl", "stop", "--wait", "--mode", "fast")


def sign_in(folder: Path) -> dict[str, str]:
    """Return the environment of a server with a sign-in. The password of user admin is in admin.password."""
    path = folder / "auth.ini"
    path.touch(mode=0o600)
    path.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder / 'auth.db'}\n"
        f"admin_username = admin\nadmin_password = {secret(folder / 'admin.password')}\n"
        "auth_cache_ttl_seconds = 60\n"  # Otherwise every request derives a key from the password, which is slow.
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    return {"MLFLOW_AUTH_CONFIG_PATH": str(path), "MLFLOW_FLASK_SERVER_SECRET_KEY": secret(folder / "flask.secret")}


def start(folder: Path, port: int, uri: str, auth: bool) -> subprocess.Popen[bytes]:
    """Start MLflow. The database's address is not in its command line, where anybody could read the password."""
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
    """Wait until the server answers. Exit if it ended or does not answer in time."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=1):
                return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.2)
    sys.exit(f"the server did not start; see {folder / 'mlflow.log'}")


def main(argv: Sequence[str]) -> None:
    """Run PostgreSQL and MLflow until a signal, and print the address as soon as the server answers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where passwords, database, artifacts and logs are kept")
    parser.add_argument("--port", type=int, default=5001)
    parser.add_argument("--auth", action="store_true", help="ask for a user and a password; the first user is admin")
    args = parser.parse_args(argv)
    folder = args.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    postgres = Postgres(folder)
    try:
        process = start(folder, args.port, postgres.uri, args.auth)
        try:
            wait(process, f"http://{HOST}:{args.port}", folder)
            print(f"http://{HOST}:{args.port}", flush=True)
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
