"""What the user asked for: `LaunchSpec`, and the small languages of its fields (hosts, hostfiles, NAME=value).

Pure: nothing here looks at the machine. `command/flags.py` fills a spec, backends make commands of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dtrain.base.errors import LaunchError, expected
from dtrain.launcher.plan.allocation import Allocation

AUTO = "auto"
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


class UsageError(LaunchError):
    """A command line that cannot be understood: exit code 2."""


@dataclass(frozen=True, slots=True)
class Host:
    """One machine and how many ranks it takes; `slots` None where the user did not say."""

    name: str
    slots: int | None = None

    def __str__(self) -> str:
        return self.name if self.slots is None else f"{self.name}:{self.slots}"

    @property
    def is_local(self) -> bool:
        """True for the names that mean this machine everywhere."""
        return self.name in LOCAL_NAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """One `dtrain run` as asked for; times are in seconds, None where there is no limit."""

    script: str
    arguments: tuple[str, ...] = ()
    as_module: bool = False
    num_proc: int | None = None
    nproc_per_node: int | None = None
    hosts: tuple[Host, ...] = ()
    launcher: str = AUTO  # a name in the table of backends, or `auto`
    environment: Mapping[str, str | None] | None = None  # None as a value: take the launcher's own
    tag_output: bool | None = None  # None: tag when there is more than one rank
    timestamp_output: bool = False
    log_dir: str | None = None
    events: str | None = None
    timeout: float | None = None
    start_timeout: float = 60.0
    grace: float | None = None
    plan_only: bool = False
    mpi_args: tuple[str, ...] = ()
    quiet: bool = False
    address: str | None = None
    allocation: Allocation | None = None  # of a batch system, where the job takes place in it

    def within(self, allocation: Allocation | None) -> LaunchSpec:
        """This job inside of an allocation: all of it where the user has not said how many ranks. Hosts that the user
        names take no allocation.
        """
        if allocation is None or self.hosts:
            return self
        if allocation.hosts:
            return replace(self, allocation=allocation, hosts=tuple(Host(*host) for host in allocation.hosts))
        size = allocation.size if self.nproc_per_node is None else self.nproc_per_node * allocation.nodes
        return replace(self, allocation=allocation, num_proc=self.num_proc or size)

    @property
    def world_size(self) -> int:
        """Ranks in all: asked for, or the sum of the hosts' slots, or ranks per node times hosts, or one.

        Raises `LaunchError` where the numbers contradict each other.
        """
        capacity = self._capacity()
        if self.num_proc is None:
            return capacity or 1
        if capacity is not None and self.num_proc > capacity and self.hosts:
            raise LaunchError(
                expected(
                    "-np",
                    f"at most {capacity} ranks on {', '.join(map(str, self.hosts))}",
                    str(self.num_proc),
                    "add hosts or slots",
                )
            )
        return self.num_proc

    def _capacity(self) -> int | None:
        if self.nproc_per_node is not None:
            return self.nproc_per_node * max(len(self.hosts), 1) if self.hosts or self.num_proc is None else None
        if self.hosts and all(host.slots is not None for host in self.hosts):
            return sum(host.slots or 0 for host in self.hosts)
        return len(self.hosts) if self.hosts and self.num_proc is None else None

    def ranks_per_host(self) -> list[tuple[str, int]]:
        """How many ranks go on each host, filling hosts in the order given. Without hosts: all on `localhost`."""
        if not self.hosts:
            return [("localhost", self.world_size)]
        left = self.world_size
        # Hosts without a number share evenly, as mpirun's users expect of `-H a,b -np 4`.
        even = -(-self.world_size // len(self.hosts))
        placed: list[tuple[str, int]] = []
        for host in self.hosts:
            count = min(left, self.nproc_per_node or host.slots or even)
            left -= count
            if count:
                placed.append((host.name, count))
        if left:
            wanted = f"room for {self.world_size} ranks on {', '.join(map(str, self.hosts))}"
            raise LaunchError(expected("hosts", wanted, f"{self.world_size - left}", "add hosts or slots"))
        return placed


IPV4_ADVICE = "MPI and the launcher talk IPv4 between hosts: give the host one, or name another"

_HOST = re.compile(r"(\[[0-9a-fA-F:]+\]|[^\s:,]+)(?::(\d+))?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def parse_hosts(text: str) -> tuple[Host, ...]:
    """`a:2,b:4` or `a,b`; slots of a host that is named twice add up. Raises `LaunchError` for anything else."""
    hosts = []
    for part in text.split(","):
        match = _HOST.fullmatch(part.strip())
        if match is None:
            raise LaunchError(expected("--hosts", "a list such as a:2,b:4", repr(text)))
        hosts.append(_host(match[1], match[2], "--hosts"))
    return _added_up(hosts)


def read_hostfile(path: str) -> tuple[Host, ...]:
    """One host a line, `a slots=2` (Open MPI) or `a:2` (MPICH); `#` begins a comment. A host of several lines, one a
    slot, has as many slots (PBS). Raises `LaunchError`.
    """
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LaunchError(expected("--hostfile", "a readable file", f"{path}: {error}")) from None
    hosts = []
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        match = re.fullmatch(r"(\S+?)(?::(\d+)|\s+slots\s*=\s*(\d+)(?:\s+max[-_]slots\s*=\s*\d+)?)?", text)
        if match is None:
            raise LaunchError(expected(f"{path}, line {number}", "`host slots=2` or `host:2`", repr(text)))
        hosts.append(_host(match[1], match[2] or match[3], f"{path}, line {number}"))
    if not hosts:
        raise LaunchError(expected("--hostfile", "at least one host", f"none in {path}"))
    return _added_up(hosts)


def _host(name: str, slots: str | None, where: str) -> Host:
    if ":" in name and name != "[::1]":
        raise LaunchError(expected(where, "names or IPv4 addresses of hosts", name, IPV4_ADVICE))
    if slots is not None and int(slots) == 0:
        raise LaunchError(expected(where, "at least one slot", f"{name}:0", "leave the host out instead"))
    return Host(name, None if slots is None else int(slots))


def _added_up(hosts: list[Host]) -> tuple[Host, ...]:
    """Each host once, in the order of the first time; a name alone counts one slot where it comes again."""
    slots: dict[str, list[int | None]] = {}
    for host in hosts:
        slots.setdefault(host.name, []).append(host.slots)
    return tuple(
        Host(name, parts[0] if len(parts) == 1 else sum(1 if part is None else part for part in parts))
        for name, parts in slots.items()
    )


def parse_variable(text: str, where: str = "-x") -> tuple[str, str | None]:
    """`NAME=value`, or `NAME` for the launcher's own value. Raises `LaunchError`."""
    name, equals, value = text.partition("=")
    if _NAME.fullmatch(name) is None:
        raise LaunchError(expected(where, "NAME or NAME=value", repr(text)))
    return name, value if equals else None


def read_environment_file(path: str) -> dict[str, str | None]:
    """`NAME=value` a line; `export ` before and quotes around the value are taken off, `#` begins a comment line."""
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LaunchError(expected("--env-file", "a readable file", f"{path}: {error}")) from None
    variables: dict[str, str | None] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip().removeprefix("export ").strip()
        if not text or text.startswith("#"):
            continue
        name, value = parse_variable(text, f"{path}, line {number}")
        if value is not None and len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        variables[name] = value
    return variables
