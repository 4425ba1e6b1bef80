"""The table of worlds whose ranks are threads of one process: nobody is in one without having asked for it.

They serve tests, learning and simulation. A new one is a file and a row here; the contract's tests run over every row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dtrain.collectives.programs.network import Network
from dtrain.collectives.transports.thread_communicator import run_threads
from dtrain.collectives.transports.virtual_communicator import run_virtual

# How to run a program on ranks whose hosts have these numbers: results in rank order.
RunOnHosts = Callable[[Sequence[int], Callable[[Any], Any]], list[Any]]

ON_THREADS: dict[str, RunOnHosts] = {
    "thread": lambda hosts, program: run_threads(len(hosts), program),
    "virtual": lambda hosts, program: run_virtual(program, Network(hosts=tuple(hosts))),
}
