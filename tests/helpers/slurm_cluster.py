"""A real Slurm for tests: a controller and two nodes, of Debian's packages, on hosts that are network namespaces."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from helpers.hosts import Site, end_processes, inside, make_hosts, short_folder
from helpers.slurm_packages import NoPackagesError, prepare

FOLDER = Path(__file__).parents[2] / "build" / "slurm"
CORES = 4  # of a node, whatever this machine has
PATIENCE = 30.0

CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={login}({login_address})
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
PluginDir={plugins}
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=10
KillWait=20
MailProg=/bin/true
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=10
"""


class SlurmCluster:
    """`login` is where users type; `nodes` are named in the order of their addresses."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.folder = folder
        (self.login_address, self.login), *nodes = reversed(list(site.hosts.items()))
        self.nodes = {name: address for address, name in reversed(nodes)}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def variables(self) -> dict[str, str]:
        """What a user's shell has."""
        return {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": f"{FOLDER / 'bin'}:{os.environ['PATH']}",
            # Sites with one network need none of this; here the ranks must not reach around it.
            "PRTE_MCA_prte_if_include": self.site.network,
            "OMPI_MCA_btl": "tcp,self",
            "OMPI_MCA_pml": "ob1",
            "OMPI_MCA_btl_tcp_if_include": self.site.network,
        }

    def start(self) -> None:
        self._configure()
        self._daemon("munged", "", "munged", "--foreground", "--force", *self._munge_options())
        self._daemon("slurmctld", self.login, "slurmctld", "-D", "-c", "-f", str(self.folder / "slurm.conf"))
        for name in self.nodes:
            self.start_node(name)
        self.wait(lambda: self.ask("sinfo", "-h", "-o", "%D %t") == "2 idle", "two idle nodes")

    def start_node(self, name: str) -> None:
        stepd = str(FOLDER / "bin" / "slurmstepd")
        # PMIx names its folders by the step alone, so each node has its own under one name.
        own = f"mount --bind {self.folder}/pmix-{name} {self.folder}/pmix && exec"
        words = ["-D", "-c", "-N", name, "-d", stepd]
        self._daemon(
            f"slurmd-{name}", name, "slurmd", *words, before=["unshare", "--mount", "sh", "-c", f'{own} "$@"', "sh"]
        )

    def kill_node(self, name: str) -> None:
        """SIGKILL for its slurmd."""
        self._daemons[f"slurmd-{name}"].kill()
        self._daemons[f"slurmd-{name}"].wait()

    def carriers(self, name: str) -> list[int]:
        """Ids of the processes (slurmstepd) that carry steps on a node."""
        network = os.stat(f"/run/netns/{name}").st_ino
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                program = (folder / "cmdline").read_bytes().rstrip(b"\0").rpartition(b"\0")[2]
                if program.endswith(b"slurmstepd-wlm") and (folder / "ns/net").stat().st_ino == network:
                    found.append(int(folder.name))
        return found

    def command(self, *words: str, host: str = "") -> list[str]:
        return [*inside(host or self.login), *words]

    def ask(self, *words: str, timeout: float = 20.0) -> str:
        """The output of a command on the login host."""
        env = {**os.environ, **self.variables}
        done = subprocess.run(self.command(*words), env=env, capture_output=True, text=True, timeout=timeout)
        return done.stdout.strip()

    def wait(self, condition, what: str, timeout: float = PATIENCE) -> None:
        until = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < until, f"expected {what} within {timeout:g} s\n{self.logs()}"
            time.sleep(0.1)

    def logs(self) -> str:
        return "\n".join(f"{path.name}:\n{path.read_text()[-1500:]}" for path in sorted(self.folder.glob("*.log")))

    def empty(self) -> None:
        """End every job, and wait until none is left."""
        self.ask("scancel", "--user=root", "--signal=KILL", "--full")
        self.wait(lambda: self.ask("squeue", "-h") == "", "an empty queue")

    def stop(self) -> None:
        """Cancel what still runs, then end the daemons by their ids."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.ask("scancel", "--full", "--signal=KILL", "--user=root")
        end_processes(reversed(self._daemons.values()), patience=5)

    def _configure(self) -> None:
        for name in ("state", "pmix", *(f"{kind}-{name}" for kind in ("spool", "pmix") for name in self.nodes)):
            (self.folder / name).mkdir()
        nodes = "\n".join(f"NodeName={name} NodeAddr={at} CPUs={CORES}" for name, at in self.nodes.items())
        plugins = next((FOLDER / "root").glob("usr/lib/*/slurm-wlm"))
        text = CONFIGURATION.format(
            login=self.login, login_address=self.login_address, folder=self.folder, plugins=plugins, nodes=nodes
        )
        (self.folder / "slurm.conf").write_text(text)
        version = "v1" if Path("/sys/fs/cgroup/freezer").exists() else "v2"
        (self.folder / "cgroup.conf").write_text(f"CgroupPlugin=cgroup/{version}\n")

        (self.folder / "mpi.conf").write_text(f"PMIxCliTmpDirBase={self.folder}/pmix\n")

    def _munge_options(self) -> Sequence[str]:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        names = {"socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log", "seed-file": "munge.seed"}
        return [f"--key-file={key}", *(f"--{option}={self.folder / name}" for option, name in names.items())]

    def _daemon(self, name: str, host: str, program: str, *words: str, before: Sequence[str] = ()) -> None:
        command = [*before, str(FOLDER / "bin" / program), *words]
        env: Mapping[str, str] = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}
        with (self.folder / f"{name}.log").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                [*inside(host), *command] if host else command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


@contextlib.contextmanager
def make_slurm() -> Iterator[SlurmCluster]:
    """A running cluster inside of a `with` block; a skip with its reason where there can be none."""
    try:
        prepare(FOLDER)
    except NoPackagesError as error:
        pytest.skip(str(error))
    with short_folder("dtrain-slurm-") as folder, make_hosts(3) as site:
        folder.chmod(0o755)
        cluster = SlurmCluster(site, folder)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
