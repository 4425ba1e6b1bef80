"""`dtrain bench parts`: what a training step does besides convolutions, beside PyTorch in the same run.

A part is a function that is traced, forward and backward through autograd; timed are the calls that a traced step makes
for it, already bound to memory. PyTorch computes the same eagerly, images in the better of its two memory orders, and
gets the memory that it has freed without fresh pages. Both must give the same numbers first. All take turns; the ratio
is formed within each.

GB/s count what each direction must at least read and write once: forward its inputs and its output, backward the
gradient of the output, once more the inputs where its formula needs them, and the gradients. The share is that of what
one thread copies in the same turns, read and written. Above 100% it is no mistake where all arrays stay in a cache,
which the row names, where several threads compute, and where more is read than written, as by optimizers.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from dtrain.base.errors import expected
from dtrain.base.turns import repeated, take_turns
from dtrain.bench.fix_threads import fix_threads
from dtrain.bench.parts.function import Function
from dtrain.bench.parts.memory import COPIED_BYTES, cache_bytes, keep_freed_memory, large_copy
from dtrain.bench.parts.part import Part, bound_steps, expect_equal, runner
from dtrain.bench.parts.table import parts
from dtrain.bench.peer import beside_peer, pytorch, speeds_to_peer
from dtrain.bench.report import record, write
from dtrain.runtime.steps import Step

DESCRIPTION = """\
Time what training steps do besides convolutions, forward and backward, in f32, with the kernels that run for it.

examples:
  dtrain bench parts
  dtrain bench parts --peer torch --turns 5 -J parts.json
  dtrain bench parts --part batch_norm --part layer_norm --peer torch
  dtrain bench parts --part attention --forward --threads 2
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the benchmark."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--part", action="append", default=[], metavar="NAME", help="only this part (repeatable)")
    parser.add_argument("--forward", action="store_true", help="without gradients")
    parser.add_argument("--peer", choices=("torch",), help="compare with PyTorch (extra `peers`)")
    parser.add_argument("--turns", type=int, default=7, help="turns of each contestant (7)")
    parser.add_argument("--turn-seconds", type=float, default=0.05, help="least duration of one turn (0.05)")
    parser.add_argument("--threads", type=int, default=1, help="threads of every contestant (1)")


def chosen_parts(names: Sequence[str], forward: bool = False) -> list[Part]:
    """Those of these names, or all. Raises ValueError for a name that no part has."""
    known = list(parts())
    families = list(dict.fromkeys(part.family for part in known))
    for name in names:
        if name not in families:
            raise ValueError(expected("--part", "one of " + ", ".join(families), repr(name)))
    chosen = [part for part in known if not names or part.family in names]
    return [replace(part, leaves=0) if forward and isinstance(part, Function) else part for part in chosen]


def check(args: argparse.Namespace) -> None:
    """Raise ValueError for a part that is not known or counts below 1."""
    chosen_parts(args.part)
    for flag in ("turns", "threads"):
        if getattr(args, flag) < 1:
            raise ValueError(expected(f"--{flag}", "at least 1", str(getattr(args, flag))))


def run(args: argparse.Namespace) -> int:
    """Measure, print, write; the exit status."""
    fix_threads(args.threads)
    keep_freed_memory()
    copy, caches = large_copy(), cache_bytes()
    rows = []
    for part in chosen_parts(args.part, args.forward):
        row = measure(part, copy, args)
        row["fits_in"] = next((name for name, nbytes in caches.items() if part.held <= nbytes), "")
        rows.append(row)
        print(lines(row), flush=True)
    copied = median(row["copy_gigabytes_per_second"] for row in rows)
    print(f"one thread copies {copied:.1f} GB/s, read and written; {args.threads} thread(s) computed the parts")
    facts: dict[str, Any] = {"cache_bytes": caches}
    if args.peer:
        found, text = speeds_to_peer(rows)
        facts |= found
        print(text)
    write(record("parts", args, rows, **facts), args, label="label", figure="median_ms")
    return 0


def measure(part: Part, copy: Callable[[], Any], args: argparse.Namespace) -> dict[str, Any]:
    """One row: the calls that a step makes, their rates, and where a peer is asked for the speed beside it."""
    function, mine = part.ours()
    peers = part.peers(pytorch("bench parts --peer", args.threads)) if args.peer else {}
    results = mine.results()
    for name, peer in peers.items():
        expect_equal(f"{part.label} beside {name}", results, peer.results())
    steps = bound_steps(function)
    calls = {"steps": runner(steps), **{name: peer.call for name, peer in peers.items()}}
    calls |= {"call": mine.call, "copy": copy}  # the copy, which empties caches, between nobody who is compared
    turns = {name: repeated(call, least_seconds=args.turn_seconds) for name, call in calls.items()}
    measured = take_turns(turns, args.turns)
    ours, whole, copied = (measured.pop(name) for name in ("steps", "call", "copy"))
    row = {
        "label": part.label,
        "median_ms": ours.median * 1e3,
        "call_ms": whole.median * 1e3,
        "spread": ours.spread,
        "gigabytes_per_second": part.moved / ours.median / 1e9,
        "copy_gigabytes_per_second": 2 * COPIED_BYTES / copied.median / 1e9,
        "share_of_copy": part.moved / (2 * COPIED_BYTES) * copied.ratio_to(ours).median,
        "gigaflops": part.flops / ours.median / 1e9,
        "kernels": kernels(steps, args),
    }
    if not measured:
        return row
    ways = ", ".join(f"{name} {samples.median * 1e6:.1f}" for name, samples in measured.items())
    return row | beside_peer(ours, measured) | {"peer_ways": ways}


def kernels(steps: Sequence[Step], args: argparse.Namespace) -> str:
    """What runs, in order, each with its microseconds."""
    turns = {
        str(number): repeated(runner([step]), least_seconds=args.turn_seconds / 10) for number, step in enumerate(steps)
    }
    measured = take_turns(turns, min(args.turns, 3))
    return ", ".join(f"{step.name} {measured[str(n)].median * 1e6:.1f}" for n, step in enumerate(steps))


def lines(row: Mapping[str, Any]) -> str:
    """One row of the table, and under it what runs for it and all ways of a peer that has several, in µs."""
    text = f"{row['label']:<38} {row['median_ms'] * 1e3:9.1f} µs {row['gigabytes_per_second']:6.1f} GB/s"
    text += f" {row['share_of_copy']:5.0%} of copy {'in ' + row['fits_in'] if row['fits_in'] else '':<5}"
    text += f" {row['gigaflops']:6.1f} GFLOP/s" if row["gigaflops"] else " " * 15
    if "peer" in row:
        text += f" {row['peer_ms'] * 1e3:9.1f} µs {row['peer']:<21}"
        text += f" {row['speed_to_peer']:5.2f}x [{row['ratio_min']:.2f}, {row['ratio_max']:.2f}]"
    ways = row.get("peer_ways", "")
    return f"{text.rstrip()}\n    {row['kernels']}" + (f"; {ways}" if "," in ways else "")
