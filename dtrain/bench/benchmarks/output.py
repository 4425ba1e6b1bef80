"""`dtrain bench output`: how fast ranks' output passes the launcher, in how much memory, beside mpirun's own tags.

The benchmark starts jobs itself and is the reader at the other end of their pipe. What the ranks write is ready-made,
so that the way is measured and not Python's print. mpirun holds a line until it ends, so it has no row for one line
without an end. The last row pauses the reader and presses Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from dtrain.base.errors import expected
from dtrain.bench.report import record, write
from dtrain.launcher.command.flags import parse_run
from dtrain.launcher.plan.mpi_installation import find_mpirun, root_allowed
from dtrain.launcher.plan.spec import UsageError

STARTS_RANKS = True  # flags of `dtrain run` are for the jobs it starts
MEGA = 1_000_000
PIECE = 1 << 16
SHAPES = {
    "short lines": ("x" * 39 + "\n") * 1600,
    "lines of 10,000": ("y" * 9999 + "\n") * 6,
    "one line": "z" * PIECE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One job: megabytes written by all ranks, from the first byte read to the last, and the starter's peak memory."""

    starter: str
    shape: str
    megabytes: float
    seconds: float
    peak_memory_mib: float

    @property
    def rate(self) -> float:
        return self.megabytes / self.seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `dtrain bench output`."""
    parser.description = __doc__
    parser.add_argument("--megabytes", type=int, default=200, metavar="N", help="of all ranks together (default 200)")


def run(args: argparse.Namespace) -> int:
    """Measure and print; 1 if bytes were lost or the paused job did not end."""
    if args.megabytes < 1:
        raise UsageError(expected("dtrain bench output", "--megabytes of at least 1", str(args.megabytes)))
    launch = ["-np", "2", *args.launch]
    size = parse_run([*launch, "SCRIPT"], os.environ).world_size
    rows = []
    print(f"{'starter':<10} {'shape':<16} {'MB':>6} {'s':>7} {'MB/s':>7} {'peak MiB':>9}", flush=True)
    for shape in SHAPES:
        for name, command in _starters(size, launch).items():
            if name == "mpirun" and shape == "one line":
                continue
            row = _measure(name, shape, [*command, *_writer(shape, args.megabytes * MEGA // size)], args.megabytes)
            rows.append(row)
            numbers = f"{row.megabytes:>6.0f} {row.seconds:>7.2f} {row.rate:>7.0f} {row.peak_memory_mib:>9.0f}"
            print(f"{row.starter:<10} {row.shape:<16} {numbers}", flush=True)
    stop = _stop_with_paused_reader([*_starters(size, launch)["dtrain"], *_writer("short lines", 1 << 50)])
    print(f"Ctrl-C while the reader pauses: {stop:.2f} s to the end of the job")
    found = record(
        "output",
        args,
        [{"label": f"{row.starter}, {row.shape}", **asdict(row), "rate": row.rate} for row in rows],
        ranks=size,
        stop_with_paused_reader_seconds=stop,
    )
    write(found, args, label="label", figure="rate")
    return int(any(row.megabytes < args.megabytes * 0.99 for row in rows))


def _starters(size: int, launch: Sequence[str]) -> dict[str, list[str]]:
    ours = [sys.executable, "-m", "dtrain.cli", "run", "--quiet", *launch]
    starters = {"dtrain": ours}
    if (mpirun := find_mpirun()) is not None:
        starters["mpirun"] = [mpirun, "-np", str(size), "--output", "tag", "--map-by", ":OVERSUBSCRIBE", sys.executable]
    return starters


def _writer(shape: str, nbytes: int) -> list[str]:
    return ["-m", "dtrain.bench.benchmarks.output", shape, str(nbytes)]


def _measure(starter: str, shape: str, command: Sequence[str], megabytes: int) -> Row:
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=root_allowed()
    )
    assert process.stdout is not None
    memory = _PeakMemory(process.pid)
    first, nbytes = _count(process.stdout, ord(SHAPES[shape][0]), memory.look)
    seconds = time.monotonic() - first
    memory.look()
    process.wait()
    return Row(
        starter=starter,
        shape=shape,
        megabytes=nbytes / MEGA,
        seconds=seconds,
        peak_memory_mib=memory.mebibytes,
    )


class _PeakMemory:
    """The most memory that a process has held since it runs its own program. What the kernel tells a parent at the end
    counts the parent's memory too, which a child has for a moment between fork and exec."""

    def __init__(self, pid: int) -> None:
        self.mebibytes = 0.0
        self._status = Path(f"/proc/{pid}/status")

    def look(self) -> None:
        """Take the kernel's high-water mark of now; nothing where the process has ended."""
        with contextlib.suppress(OSError):
            if found := re.search(r"^VmHWM:\s+(\d+) kB", self._status.read_text(), re.MULTILINE):
                self.mebibytes = int(found[1]) / 1024


def _count(stream: IO[bytes], letter: int, look: Callable[[], None]) -> tuple[float, int]:
    """When the first byte came, and how many came of what the ranks wrote: the letters, and newlines beside them."""
    first, letters = 0.0, 0
    while data := os.read(stream.fileno(), 1 << 20):
        first = first or time.monotonic()
        look()
        letters += data.count(letter)
    stream.close()
    per_letter = {ord("x"): 40 / 39, ord("y"): 10_000 / 9999}.get(letter, 1.0)
    return first, round(letters * per_letter)


def _stop_with_paused_reader(command: Sequence[str]) -> float:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    os.read(process.stdout.fileno(), 1)
    time.sleep(2.0)  # until all pipes are full
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait()
    seconds = time.monotonic() - begin
    process.stdout.close()
    return seconds


def _write(shape: str, nbytes: int) -> None:
    """What each rank does."""
    block = SHAPES[shape]
    while nbytes > 0:
        sys.stdout.write(block)
        nbytes -= len(block)
    sys.stdout.flush()


if __name__ == "__main__":
    _write(sys.argv[1], int(sys.argv[2]))
