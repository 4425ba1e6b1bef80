"""A training script that goes wrong as told: `training.py FAULT PHASE CULPRIT FOLDER MODE [CHATTER]`.

Everything a training does happens once, in the order of `PHASES`; MODE is `alone` for ranks without MPI. By CHATTER a
thread writes without a pause: with `print` or with `write`.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

FAULT, PHASE, CULPRIT, FOLDER, MODE = sys.argv[1:6]
RANK = int(os.environ.get("RANK") or os.environ["OMPI_COMM_WORLD_RANK"])
Path(FOLDER, f"pid.{RANK}").write_text(str(os.getpid()))


def fail() -> None:
    raise RuntimeError("planned failure")


def in_a_thread() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(fail).result()


class Broken:
    """A dataset whose second sample fails."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        if index == 1:
            fail()
        return 0.0


def in_a_loader_worker() -> None:
    from dtrain import data

    for _ in data.DataLoader(Broken(), batch_size=1, num_workers=1):
        pass


def out_of_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 27), -1))
    bytearray(1 << 30)


def with_streams_closed() -> None:
    sys.stdout.close()
    sys.stderr.close()
    os.close(1)
    os.close(2)
    fail()


def on_a_full_disk() -> None:
    with open("/dev/full", "w") as stream:
        stream.write("planned failure")


def loop() -> None:
    while True:
        pass


FAULTS: dict[str, Callable[[], Any]] = {
    "raise": fail,
    "exit 0": lambda: sys.exit(0),
    "exit 3": lambda: sys.exit(3),
    "_exit": lambda: os._exit(5),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGSEGV": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "SIGSTOP": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "endless loop": loop,
    "out of memory": out_of_memory,
    "thread": in_a_thread,
    "loader worker": in_a_loader_worker,
    "closed stdout": with_streams_closed,
    "disk full": on_a_full_disk,
}


def at(phase: str) -> None:
    """Here is a phase: if it is the one, and this the rank, go wrong."""
    if phase == PHASE and int(CULPRIT) == RANK:
        mark = Path(FOLDER, "fault_at")
        if not mark.exists():
            mark.write_text(repr(time.time()))
            FAULTS[FAULT]()


def chatter(how: str) -> None:
    line = "without a pause " * 4
    while how == "print":
        print(line, flush=True)
    while how == "write":  # holds no lock of Python's, which aborts where it ends on its own and cannot have that
        os.write(1, f"{line}\n".encode())


def main() -> None:
    for how in sys.argv[6:]:
        threading.Thread(target=chatter, args=(how,), daemon=True).start()
    at("import")
    import numpy as np

    import dtrain as dt
    from dtrain import checkpoint, nn, optim
    from dtrain import collectives as dist

    at("before init")
    model: Any = nn.Linear(4, 2)
    if MODE == "ranks":
        from dtrain.collectives.transports import mpi_start

        start = mpi_start.start_mpi
        mpi_start.start_mpi = lambda info: (at("init"), start(info))[1]
        world = dist.init()
        at("first collective")
        world.all_reduce(np.ones(8))
        if PHASE == "inside a collective":
            signal.signal(signal.SIGALRM, lambda *_: at(PHASE))
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            begin = time.monotonic()
            while time.monotonic() - begin < 30:
                world.all_reduce(np.ones(1 << 16))
        model = dist.data_parallel(model)
    atexit.register(at, "atexit")

    @dt.trace
    def traced(x: dt.Tensor) -> dt.Tensor:
        at("traced step")
        loss = model(x).sum()
        loss.backward()
        return loss

    class Optimizer(optim.SGD):
        def step(self) -> None:
            at("optimizer")
            super().step()

    optimizer = Optimizer(model.parameters(), lr=0.1)
    x = dt.tensor(np.ones((3, 4), np.float32))
    traced(x)
    model.register_forward_hook(lambda *_: at("hook"))
    model(x).sum().backward()
    optimizer.step()
    replace = os.replace
    os.replace = lambda *names, **options: (at("checkpoint"), replace(*names, **options))[1]
    checkpoint.save(str(Path(FOLDER, f"model.{RANK}")), {"weight": np.ones(3)})
    if MODE == "ranks":
        world.barrier()
    at("last step")


if __name__ == "__main__":
    main()
