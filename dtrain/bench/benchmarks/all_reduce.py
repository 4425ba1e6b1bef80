"""`dtrain bench all_reduce`: sweep message sizes as nccl-tests does, check every result, fit alpha and beta.

Every iteration is timed by itself: all ranks meet, then each takes its time, and the slowest counts. Contestants take
turns within an iteration, so that a busy machine is busy for all of them.
"""

from __future__ import annotations

import argparse
import platform
import sys
from dataclasses import asdict, dataclass
from typing import TextIO

import numpy as np

from dtrain.base.dtype import DType, as_dtype
from dtrain.base.errors import CollectiveError, expected
from dtrain.base.turns import Samples, take_turns
from dtrain.bench.collectives.alpha_beta import AlphaBeta, fit
from dtrain.bench.collectives.contestants import PEERS, Contestant, Copy, Ours, OursInWindow
from dtrain.bench.collectives.exact_data import count_wrong, expected_result
from dtrain.bench.collectives.link import Link, parse_rate, slowest_link
from dtrain.bench.collectives.message_sizes import parse_bytes, sweep
from dtrain.bench.measure import slowest, together
from dtrain.bench.report import record, write
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.programs.rank_order import REDUCE_OPS, ReduceOp, check_reduction
from dtrain.collectives.world import context

DESCRIPTION = """\
Measure all-reduce over message sizes, in the letters and columns of nccl-tests.

  time    microseconds of one all-reduce (slowest rank): fastest, median and slowest iteration
  algbw   bytes / median time
  busbw   algbw * 2(p-1)/p: comparable over numbers of ranks, and with a link's rate
  #wrong  elements with a wrong bit, over all ranks (inputs are such that every order has one exact result)
  %copy   median time in which every rank just copies the message, as a share of the all-reduce's: on one host an
          all-reduce moves as many bytes through memory as that, so 100% is the physical limit
  %link   on several hosts: the bytes that each of h hosts must send at least, 2(h-1)/h of the message, as a share of
          what its link carries in the median time (--link-rate, or what the network cards say)

`dtrain` is all-reduce on ordinary arrays, `dtrain-window` on arrays in shared memory, as gradient buckets are.
"""

EXAMPLES = """\
examples:
  dtrain bench all_reduce -np 2                                 8 B to 64 MiB, doubling
  dtrain bench all_reduce -np 4 -b 1K -e 1M -f 4 -d bfloat16    four ranks, a coarser sweep
  dtrain bench all_reduce -np 2 --peers mpi,gloo -J out.json    beside MPI_Allreduce and torch's gloo, with JSON
  dtrain bench all_reduce -np 8 -H a:4,b:4 --link-rate 10G      two hosts, and the share of the link between them
  mpirun -np 2 python -m dtrain.bench all_reduce                without the launcher

exit code: 0, or 1 if any result was wrong
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One contestant at one size. Times are in microseconds, rates in 10^9 bytes per second."""

    nbytes: int
    count: int
    dtype: str
    op: str
    via: str
    algorithm: str
    min_us: float
    median_us: float
    max_us: float
    algbw: float
    busbw: float
    wrong: int | None
    copy_fraction: float | None
    link_fraction: float | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags on `parser`, and its help."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("-b", "--minbytes", type=parse_bytes, default="8", metavar="BYTES", help="first size (default 8)")
    add("-e", "--maxbytes", type=parse_bytes, default="64M", metavar="BYTES", help="last size (default 64M)")
    add("-f", "--stepfactor", type=float, default=2.0, metavar="F", help="from size to size, times F (default 2)")
    add("-i", "--stepbytes", type=parse_bytes, metavar="BYTES", help="from size to size, plus BYTES, instead of -f")
    add("-n", "--iters", type=int, default=20, metavar="N", help="timed iterations per size (default 20)")
    add("-w", "--warmup-iters", type=int, default=5, metavar="N", help="untimed iterations before (default 5)")
    add("-c", "--check", type=int, choices=(0, 1), default=1, help="check results (default 1)")
    add(
        "-d",
        "--datatype",
        default="float32",
        metavar="DTYPE",
        help="element type, as float32 or bf16 (default float32)",
    )
    add("-o", "--op", default="sum", help=f"one of {', '.join(REDUCE_OPS)} (default sum)")
    add(
        "--link-rate", type=parse_rate, metavar="RATE", help="what a link between hosts carries, as 10G (bits a second)"
    )
    add("--peers", default="", metavar="NAMES", help=f"also measure, comma-separated: {', '.join(PEERS)}")
    add("--no-window", action="store_true", help="leave dtrain-window out")


def check(args: argparse.Namespace) -> None:
    """Raise `ValueError` for arguments that no sweep fits."""
    check_reduction("-o", _op_of(args), as_dtype(args.datatype))
    if args.iters < 1 or args.warmup_iters < 0 or (not args.stepfactor > 1 and not args.stepbytes):
        wanted = "-n of 1 or more, -w of 0 or more and -f above 1"
        given = f"-n {args.iters} -w {args.warmup_iters} -f {args.stepfactor:g}"
        raise ValueError(expected("bench all_reduce", wanted, given))
    unknown = [name for name in _peers_of(args) if name not in PEERS]
    if unknown:
        raise ValueError(expected("--peers", f"names among {', '.join(PEERS)}", ", ".join(unknown)))
    if not _counts_of(args):
        raise ValueError(expected("bench all_reduce", "-b at most -e", f"-b {args.minbytes} -e {args.maxbytes}"))


def _op_of(args: argparse.Namespace) -> str:
    return "mean" if args.op == "avg" else str(args.op)


def _peers_of(args: argparse.Namespace) -> list[str]:
    return [name for name in args.peers.split(",") if name]


def _counts_of(args: argparse.Namespace) -> list[int]:
    itemsize = as_dtype(args.datatype).itemsize
    return sweep(args.minbytes, args.maxbytes, factor=args.stepfactor, step=args.stepbytes, itemsize=itemsize)


def run(args: argparse.Namespace) -> int:
    """Carry the sweep out on every rank; rank 0 prints and writes."""
    check(args)
    dtype, peers, counts = as_dtype(args.datatype), _peers_of(args), _counts_of(args)
    op = check_reduction("-o", _op_of(args), dtype)
    world = context.init()
    hosts = sorted(set(world.all_gather_object(platform.node())))
    link = slowest_link(world, args.link_rate)
    limit = None if link is None else _Limit(link, len(hosts))
    report = _Report(world, dtype, op, sys.stdout if world.rank == 0 else None, hosts, link)
    contestants, notes = _make_contestants(world, dtype, op, counts[-1], peers, not args.no_window)
    report.begin(args, notes)
    for count in counts:
        report.add(_measure_size(world, contestants, count, args, limit))
    report.end(args)
    return 1 if report.num_wrong else 0


def _make_contestants(
    world: Communicator, dtype: DType, op: ReduceOp, largest: int, peers: list[str], with_window: bool
) -> tuple[list[Contestant], list[str]]:
    """All contestants that every rank can make, and notes on the peers that some rank cannot."""
    kinds: list[type[Contestant]] = [Copy, Ours] + [OursInWindow] * with_window
    contestants = [kind(world, dtype, op, largest) for kind in kinds]
    notes: list[str] = []
    for name in peers:
        problem = ""
        try:
            contestants.append(PEERS[name](world, dtype, op, largest))
        except CollectiveError as error:
            problem = str(error)
        problems = [text for text in world.all_gather_object(problem) if text]
        if problems:
            notes.append(f"{name} is left out: {problems[0]}")
            contestants = [contestant for contestant in contestants if contestant.name != name]
    return contestants, notes


def _measure_size(
    world: Communicator, contestants: list[Contestant], count: int, args: argparse.Namespace, limit: _Limit | None
) -> list[Row]:
    for contestant in contestants:
        contestant.load(count)
    samples = {contestant.name: together(world, contestant.run) for contestant in contestants}
    measured = slowest(world, take_turns(samples, args.iters, warm_up=args.warmup_iters))
    wrong = _count_wrong(world, contestants, count) if args.check else [None] * len(contestants)
    return [
        _row(contestant, measured[contestant.name], number, measured[Copy.name].median, limit)
        for contestant, number in zip(contestants, wrong, strict=True)
        if not isinstance(contestant, Copy)
    ]


def _count_wrong(world: Communicator, contestants: list[Contestant], count: int) -> list[int | None]:
    """Run everybody once more on fresh data and compare bit by bit."""
    wanted = expected_result(count, world.size, contestants[0].dtype, contestants[0].op)
    wrong = np.zeros(len(contestants), np.int64)
    for column, contestant in enumerate(contestants):
        contestant.load(count)
        contestant.run()
        wrong[column] = 0 if isinstance(contestant, Copy) else count_wrong(contestant.out, wanted)
    return [int(number) for number in world.all_reduce(wrong)]


def _row(contestant: Contestant, samples: Samples, wrong: int | None, copy_seconds: float, limit: _Limit | None) -> Row:
    nbytes = contestant.source.nbytes
    algbw = nbytes / samples.median / 1e9
    ranks = contestant.world.size
    return Row(
        nbytes=nbytes,
        count=contestant.source.size,
        dtype=contestant.dtype.tag,
        op=contestant.op,
        via=contestant.name,
        algorithm=contestant.algorithm(),
        min_us=samples.least * 1e6,
        median_us=samples.median * 1e6,
        max_us=samples.greatest * 1e6,
        algbw=algbw,
        busbw=algbw * 2 * (ranks - 1) / ranks,
        wrong=wrong,
        copy_fraction=copy_seconds / samples.median if nbytes else None,
        link_fraction=None if limit is None or not nbytes else limit.seconds(nbytes) / samples.median,
    )


@dataclass(frozen=True, slots=True)
class _Limit:
    """The least time in which `hosts` hosts can all-reduce over links of one rate (Patarasuk & Yuan 2009)."""

    link: Link
    hosts: int

    def seconds(self, nbytes: int) -> float:
        return nbytes * 2 * (self.hosts - 1) / self.hosts / self.link.bytes_per_second


class _Report:
    """Collects rows on every rank; prints where there is a stream, which is on rank 0."""

    def __init__(
        self,
        world: Communicator,
        dtype: DType,
        op: ReduceOp,
        stream: TextIO | None,
        hosts: list[str],
        link: Link | None,
    ) -> None:
        self._world, self._dtype, self._op, self._stream = world, dtype, op, stream
        self._hosts, self._link = hosts, link
        self._rows: list[Row] = []
        self._notes: list[str] = []
        self.num_wrong = 0

    def begin(self, args: argparse.Namespace, notes: list[str]) -> None:
        self._notes = notes
        self._print(
            f"# all_reduce {self._op} {self._dtype.tag}: {self._world.size} ranks on {len(self._hosts)} host(s), "
            f"communicator {self._world.name}, {args.warmup_iters} warm-up and {args.iters} timed iterations"
        )
        if self._link is not None:
            self._print(f"# link between hosts: {self._link.bytes_per_second / 1e9:.3f} GB/s ({self._link.source})")
        elif len(self._hosts) > 1:
            self._print("# link between hosts: no card says its rate; give it with --link-rate")
        for note in notes:
            self._print(f"# {note}")
        self._print(
            f"{'size':>12} {'count':>12} {'type':>5} {'redop':>5} {'via':>14} "
            f"{'min us':>10} {'median us':>10} {'max us':>10} {'algbw':>8} {'busbw':>8} {'#wrong':>7} {'%copy':>6}"
            + (f" {'%link':>6}" if self._link is not None else "")
        )

    def add(self, rows: list[Row]) -> None:
        self._rows += rows
        self.num_wrong += sum(row.wrong or 0 for row in rows)
        for row in rows:
            wrong = "N/A" if row.wrong is None else str(row.wrong)
            share = "N/A" if row.copy_fraction is None else f"{row.copy_fraction:.0%}"
            of_link = (
                ""
                if self._link is None
                else f" {'N/A' if row.link_fraction is None else f'{row.link_fraction:.0%}':>6}"
            )
            self._print(
                f"{row.nbytes:>12} {row.count:>12} {row.dtype:>5} {row.op:>5} {row.via:>14} "
                f"{row.min_us:>10.2f} {row.median_us:>10.2f} {row.max_us:>10.2f} "
                f"{row.algbw:>8.3f} {row.busbw:>8.3f} {wrong:>7} {share:>6}{of_link}"
            )

    def end(self, args: argparse.Namespace) -> None:
        is_alone = self._world.size == 1
        fits = {} if is_alone else {via: self._fit(via) for via in dict.fromkeys(row.via for row in self._rows)}
        if is_alone:
            self._print("# one rank exchanges nothing, so no link is fitted; write dtrain bench all_reduce -np 2")
        for via, line in fits.items():
            self._print(f"# {via}: {line if line is not None else 'too few sizes for a line'}")
        verdict = "all results exact" if self.num_wrong == 0 else f"{self.num_wrong} wrong elements"
        self._print(f"# {verdict if any(row.wrong is not None for row in self._rows) else 'results not checked'}")
        if self._stream is not None:
            found = record(
                "all_reduce",
                args,
                [{"label": f"{row.nbytes} B {row.via}", **asdict(row)} for row in self._rows],
                ranks=self._world.size,
                hosts=self._hosts,
                communicator=self._world.name,
                link=None if self._link is None else asdict(self._link),
                notes=self._notes,
                fits={via: line.as_dict() if line is not None else None for via, line in fits.items()},
                num_wrong=self.num_wrong,
            )
            write(found, args, label="label", figure="busbw")

    def _fit(self, via: str) -> AlphaBeta | None:
        rows = [row for row in self._rows if row.via == via]
        return fit([row.nbytes for row in rows], [row.median_us * 1e-6 for row in rows])

    def _print(self, line: str) -> None:
        if self._stream is not None:
            print(line, file=self._stream, flush=True)
