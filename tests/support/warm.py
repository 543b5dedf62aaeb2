"""Real tools without their start-up: a server that has loaded the libraries and forks, and commands that ask it to.

`python warm.py FOLDER` serves; FOLDER/bin goes first on PATH. The sources of fieldgap are loaded anew by each command,
from PYTHONPATH. When the process that asked is killed, all that works for it is killed, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

TOOLS = ("python", "snakemake", "dvc")
LIBRARIES = (
    "torch",
    "numpy",
    "cv2",
    "pandas",
    "altair",
    "vl_convert",
    "mlflow",
    "snakemake.cli",
    "dvc.cli",
    "rasterio",
)
ASK = """#!{python} -IS
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({socket!r})
told = json.dumps(dict(words=[{tool!r}, *sys.argv[1:]], cwd=os.getcwd(), env=dict(os.environ))).encode()
socket.send_fds(server, [len(told).to_bytes(4, "big")], [0, 1, 2])
server.sendall(told)
status = server.recv(1)
os._exit(status[0] if status else 137)
"""


def remember(folder: Path) -> None:
    """Charts that were drawn before are read from FOLDER/drawn, as the library drew them; it is slow."""
    import vl_convert

    def remembered(draw: Any) -> Any:
        def drawn(*what: Any, **options: Any) -> Any:
            name = hashlib.sha256(json.dumps([draw.__name__, what, options], sort_keys=True).encode()).hexdigest()
            path = folder / "drawn" / name
            if not path.exists():
                made = draw(*what, **options)
                draft = path.with_name(f"{name}.{os.getpid()}")
                draft.write_bytes(made if isinstance(made, bytes) else made.encode())
                draft.replace(path)
            return path.read_bytes() if draw.__name__.endswith("png") else path.read_text()

        return drawn

    (folder / "drawn").mkdir(exist_ok=True)
    for name in ("vegalite_to_svg", "svg_to_png", "javascript_bundle"):
        setattr(vl_convert, name, remembered(getattr(vl_convert, name)))


def run(words: list[str]) -> Any:
    """Does what the tool would -> its exit status."""
    sys.argv = words
    if words[0] == "snakemake":
        return importlib.import_module("snakemake.cli").main()
    if words[0] == "dvc":
        forcing = importlib.import_module("fieldgap.engines.forcing")
        if any(map(forcing.DVC_FORCES.fullmatch, words)):  # A stage would read it from the engine above, which is here
            os.environ[forcing.FORCED] = forcing.EVERYTHING  # this server.
        return importlib.import_module("dvc.cli").main(words[1:])
    if words[1:3] != ["-m", "fieldgap"]:
        os.execv(sys.executable, [sys.executable, *words[1:]])  # noqa: S606
    if words[3] == "watch":
        return 0  # It would look for the engine above it, and here that is this server.
    if Path("src/fieldgap").is_dir():
        sys.path.insert(0, str(Path("src").resolve()))  # As __main__.py does, which would start the server again.
    return importlib.import_module("fieldgap.cli").main(words[3:])


def end_with(asked: socket.socket) -> None:
    """Kills this process and what it started when the one that asked for it is gone."""
    asked.recv(1)
    os.killpg(0, signal.SIGKILL)


def work(asked: socket.socket, folder: Path) -> None:
    """Answers one question, in a process of its own."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, descriptors, *_ = socket.recv_fds(asked, 4, 3)
    told = b""
    while len(told) < int.from_bytes(head, "big"):
        told += asked.recv(65536)
    question = json.loads(told)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    threading.Thread(target=end_with, args=[asked], daemon=True).start()
    os.chdir(question["cwd"])
    os.environ.clear()
    os.environ.update(question["env"])
    sys.path[:0] = question["env"].get("PYTHONPATH", "").split(os.pathsep)
    try:
        status = run(question["words"])
    except SystemExit as stop:
        status = stop.code
    except BaseException:
        logging.exception("%s", question["words"])
        status = 1
    names = (name for name in sys.modules if name.partition(".")[0] not in ("fieldgap", "__main__", "own"))
    (folder / f"{os.getpid()}.modules").write_text("\n".join(names))
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    logging.shutdown()
    asked.send(bytes([status if isinstance(status, int) else 1 if status else 0]))
    os._exit(0)


def learn(folder: Path) -> None:
    """Loads what the processes before this one had to load themselves."""
    for path in folder.glob("*.modules"):
        for name in path.read_text().split():
            if name not in sys.modules:
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
        path.unlink()


def serve(folder: Path) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for name in LIBRARIES:
        importlib.import_module(name)
    remember(folder)
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(folder / "door"))
    door.listen(64)
    while True:
        asked, _ = door.accept()
        learn(folder)
        if os.fork() == 0:
            door.close()
            work(asked, folder)
        asked.close()


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Start a server; the commands that ask it are in FOLDER/bin. The caller kills it in the end."""
    (folder / "bin").mkdir()
    for tool in TOOLS:
        path = folder / "bin" / tool
        python = shutil.which("python3", path="/usr/bin") or sys.executable
        path.write_text(ASK.format(python=python, socket=str(folder / "door"), tool=tool))
        path.chmod(0o755)
    server = subprocess.Popen([sys.executable, __file__, str(folder)])
    while not (folder / "door").exists():
        assert server.poll() is None, "the server did not come up"
        time.sleep(0.05)
    return server


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
