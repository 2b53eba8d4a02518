"""A real Slurm cluster of one node on this machine: munge, controller and node on loopback.

It needs Debian's slurm-wlm and munge, but no root rights. A Slurm that is configured on the
machine is neither used nor changed.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch")
SECONDS = 60

# GPUs are simulated: Slurm counts and assigns them, but there is no device.
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=5
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        folder: Its configuration, logs and state.
        environment: Variables that direct Slurm's commands to it.
    """

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str, cwd: Path | None = None) -> str:
        """Run a command of Slurm and return its output."""
        environment = os.environ | self.environment
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def logs(self) -> str:
        """Return the ends of the daemons' logs, for a failed test's message."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{log.name}:\n{log.read_text()[-2000:]}" for log in logs)


def is_installed() -> bool:
    """Whether all programs are installed; daemons may lie outside a user's path."""
    return all(_program(name) for name in DAEMONS)


@contextmanager
def cluster(folder: Path, *, cpus: int = 2, gpus: int = 2) -> Iterator[Cluster]:
    """Start a cluster, wait until its node takes jobs, and stop it at the end.

    Args:
        folder: An empty folder with a short path, since a socket's path has at most 107 bytes.
        cpus: Processors of the node.
        gpus: Simulated GPUs of the node.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)  # munge refuses a socket that others can't reach
    values = {"folder": folder, "user": getuser(), "host": socket.gethostname().split(".")[0]}
    values |= {"controller_port": _free_port(), "node_port": _free_port()}
    (folder / "slurm.conf").write_text(CONFIG.format(cpus=cpus, gpus=gpus, **values))
    for i in range(gpus):
        (folder / f"gpu{i}").touch()
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-{gpus - 1}]\n")
    started = Cluster(folder, {"SLURM_CONF": f"{folder}/slurm.conf"})
    with ExitStack() as stack:
        for command in _daemons(folder):
            stack.enter_context(_daemon(command, started))
        _wait_for_node(started)
        yield started
        subprocess.run(
            ["scancel", "--user", getuser()], env=os.environ | started.environment, check=False
        )


def _daemons(folder: Path) -> list[list[str]]:
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    names = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    options = [f"--{option}={folder}/munge.{suffix}" for option, suffix in names.items()]
    config = ["-f", f"{folder}/slurm.conf"]
    return [
        [_program("munged"), "--foreground", "--force", f"--key-file={key}", *options],
        [_program("slurmctld"), "-D", *config],
        [_program("slurmd"), "-D", *config],
    ]


@contextmanager
def _daemon(command: list[str], started: Cluster) -> Iterator[None]:
    output = (started.folder / f"{Path(command[0]).name}.out.log").open("w")
    process = subprocess.Popen(
        command, env=os.environ | started.environment, stdout=output, stderr=output
    )
    try:
        if command[0].endswith("munged"):
            _wait(lambda: (started.folder / "munge.socket").exists(), started)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        output.close()


def _wait_for_node(started: Cluster) -> None:
    def is_idle() -> bool:
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%t"],
            env=os.environ | started.environment,
            capture_output=True,
            text=True,
        )
        return done.stdout.split() == ["idle"]

    _wait(is_idle, started)


def _wait(condition, started: Cluster) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, started.logs()
        time.sleep(0.2)


def _program(name: str) -> str:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or ""


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def main() -> None:
    """Start a cluster in the folder given and keep it until interrupted, for trials by hand."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with cluster(Path(sys.argv[1])) as started:
        print(f"export SLURM_CONF={started.environment['SLURM_CONF']}", flush=True)
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
