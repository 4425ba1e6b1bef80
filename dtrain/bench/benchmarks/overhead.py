"""`dtrain bench overhead`: what a call costs beside its arithmetic, eager, recorded, traced, and `import dtrain`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

import dtrain.functional as F
from dtrain.base.errors import expected
from dtrain.base.turns import Contestant, Samples, repeated, take_turns
from dtrain.bench.report import record, write
from dtrain.capture.trace import trace
from dtrain.core.tensor import Tensor
from dtrain.core.tensor_factory import ones

DESCRIPTION = """\
Time calls on vectors of eight numbers, where arithmetic takes next to nothing, in microseconds.

  NumPy         numpy.add into a new array: what no framework on NumPy gets below
  eager         x + y
  recorded      x + y where x requires a gradient, so that it is noted for backward
  traced call   a call of a traced function of one add: arguments in, results out
  traced node   one more node in a traced function, from one of 2·NODES nodes
  import        a new interpreter that imports dtrain, without the interpreter's own start, in milliseconds
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the benchmark."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--turns", type=int, default=15, help="turns of each contestant (15)")
    parser.add_argument("--nodes", type=int, default=200, help="additions and activations in the long function (200)")
    parser.add_argument("--imports", type=int, default=5, help="interpreters to start; 0 leaves them out (5)")


def check(args: argparse.Namespace) -> None:
    """Raise `ValueError` for numbers that measure nothing."""
    if args.turns < 1 or args.nodes < 2 or args.imports < 0:
        given = f"{args.turns}, {args.nodes}, {args.imports}"
        raise ValueError(expected("bench overhead", "--turns ≥ 1, --nodes ≥ 2 and --imports ≥ 0", given))


def run(args: argparse.Namespace) -> int:
    """Measure and print. Returns the exit code."""
    calls = _calls(args.nodes)
    measured = take_turns({name: repeated(call, least_seconds=0.02) for name, call in calls.items()}, args.turns)
    long = measured.pop("long")
    alone = measured["traced call"]
    nodes = 2 * args.nodes - 1
    # The difference of each turn, since both drift with the machine.
    measured["traced node"] = Samples(tuple((a - b) / nodes for a, b in zip(long.seconds, alone.seconds)))
    rows = [_row(name, samples, 1e6, "µs") for name, samples in measured.items()]
    if args.imports:
        starts: dict[str, Contestant] = {"dtrain": lambda: _start("import dtrain"), "nothing": lambda: _start("")}
        started = take_turns(starts, args.imports, warm_up=1)
        apart = zip(started["dtrain"].seconds, started["nothing"].seconds)
        rows.append(_row("import", Samples(tuple(with_it - without for with_it, without in apart)), 1e3, "ms"))
    print(f"{'':14}{'median':>10}{'min':>10}{'max':>10}")
    for row in rows:
        print(f"{row['what']:14}{row['median']:>10.3f}{row['min']:>10.3f}{row['max']:>10.3f} {row['unit']}")
    write(record("overhead", args, rows), args, label="what", figure="median")
    return 0


def _calls(length: int) -> dict[str, Callable[[], Any]]:
    x, y = ones(8), ones(8)
    leaf = ones(8, requires_grad=True)
    left, right = np.ones(8, np.float32), np.ones(8, np.float32)

    @trace
    def short(value: Tensor) -> Tensor:
        return value + y

    @trace
    def long(value: Tensor) -> Tensor:
        for _ in range(length):
            value = F.relu(value + y)
        return value

    return {
        "NumPy": lambda: np.add(left, right),
        "eager": lambda: x + y,
        "recorded": lambda: leaf + y,
        "traced call": lambda: short(x),
        "long": lambda: long(x),
    }


def _start(code: str) -> float:
    begin = perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return perf_counter() - begin


def _row(what: str, samples: Samples, scale: float, unit: str) -> dict[str, Any]:
    figures = {"median": samples.median, "min": samples.least, "max": samples.greatest}
    return {"what": what, **{name: value * scale for name, value in figures.items()}, "unit": unit}
