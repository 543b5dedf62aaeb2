"""A Slurm of one node on this machine, from Debian's packages, in a folder of its own and on 127.0.0.1 alone."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from processes import wait_until

PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
PACKAGES = {"slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "sbatch": "slurm-wlm", "munged": "munge"}
# A node is lost after a few seconds of silence. It takes two jobs, whatever memory this machine has; its GPU is none.
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdTimeout=3
SlurmdParameters=config_overrides
ReturnToService=2
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=32000 Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        servers = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


def missing() -> list[str]:
    """Return the Debian packages that a Slurm needs and that are missing."""
    return sorted({package for program, package in PACKAGES.items() if not shutil.which(program, path=PATH)})


@dataclass
class Slurm:
    """Its folder, and its daemons as processes of this one."""

    folder: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """Return the environment of a user of this Slurm."""
        return {**os.environ, "PATH": f"{self.folder}/bin{os.pathsep}{PATH}", "SLURM_CONF": f"{self.folder}/slurm.conf"}

    def configure(self) -> None:
        for name in ("bin", "state", "spool"):
            (self.folder / name).mkdir()
        host, ports = socket.gethostname().partition(".")[0], free_ports(2)
        text = CONFIG.format(host=host, ports=ports, folder=self.folder, user=getpass.getuser())
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        # Inside a job Snakemake takes SLURM_CONF away and srun would look in /etc, which is not ours.
        srun = self.folder / "bin/srun"
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
        srun.chmod(0o755)

    def start(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.log").open("ab") as log:
            self.daemons[command[0]] = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)

    def start_node(self) -> None:
        self.start("slurmd", "-D")

    def on_node(self) -> Iterator[tuple[int, bytes]]:
        """Yields the number and command line of each process that slurmd started: it has this Slurm's configuration."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words, env = ((process / name).read_bytes() for name in ("cmdline", "environ"))
                steps = words.startswith(b"slurmstepd")
                if f"SLURM_CONF={self.folder}/".encode() in env and (steps or b"\0SLURM_JOB_ID=" in b"\0" + env):
                    yield int(process.name), words

    def cut_power(self) -> None:
        """Kills slurmd, then its steps before they can report a job's end, then the jobs."""
        self.daemons["slurmd"].kill()
        self.daemons["slurmd"].wait()
        for steps in (True, False):
            for number, words in list(self.on_node()):
                if words.startswith(b"slurmstepd") >= steps:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(number, signal.SIGKILL)

    def stop(self) -> None:
        if "slurmd" in self.daemons:
            self.cut_power()
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
        for daemon in self.daemons.values():
            daemon.wait(30)

    def ask(self, *command: str) -> str:
        """Return what a command of Slurm prints; nothing while it fails."""
        return subprocess.run(command, env=self.env, capture_output=True, text=True, check=False).stdout.strip()

    def node(self) -> str:
        """Return the state of the node, such as idle, mixed or down*."""
        return self.ask("sinfo", "--noheader", "--format=%t")


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Slurm]:
    """A Slurm, until the end of the block. Fails where it is not installed."""
    if absent := missing():
        pytest.fail(f"no Slurm to test with; run: apt-get install {' '.join(absent)}")
    slurm = Slurm(folder)
    slurm.configure()
    files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.pid"}
    files |= {"log-file": "munged.log", "seed-file": "munged.seed"}
    try:
        slurm.start("munged", "--foreground", "--force", *(f"--{name}={folder}/{file}" for name, file in files.items()))
        wait_until((folder / "munge.socket").exists, "a socket of munge")
        slurm.start("slurmctld", "-D")
        slurm.start_node()
        wait_until(lambda: slurm.node() == "idle", "an idle node")
        yield slurm
    finally:
        slurm.stop()
