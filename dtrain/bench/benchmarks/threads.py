"""`dtrain bench threads`: one traced training step on one thread and on more, in one process.

The counts take turns, so that the machine's drift hits all alike. The step is traced for the most threads, and computes
the same bits on any number of them but for the products of BLAS.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from dtrain.base.cores import usable_cores
from dtrain.base.errors import expected
from dtrain.base.library_threads import num_threads, set_num_threads
from dtrain.base.turns import Samples, repeated, take_turns
from dtrain.bench.fix_threads import fix_threads
from dtrain.bench.report import milliseconds, record, write
from dtrain.bench.training.workloads import WORKLOADS, add_size_flags, size_of, training_step
from dtrain.capture.trace import trace

DESCRIPTION = """\
Time one traced training step on several numbers of threads: how much faster more of them are.

examples:
  dtrain bench threads --model resnet18 --batch-size 16
  dtrain bench threads --model mobilenet_v2 --counts 1,2,4 --turns 9
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the benchmark."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", choices=WORKLOADS, default="resnet18", help="what to train (resnet18)")
    parser.add_argument("--batch-size", type=int, default=16, help="samples (16)")
    add_size_flags(parser)
    parser.add_argument("--counts", type=_counts, default=None, help="threads, as 1,2,4 (1 and every usable core)")
    parser.add_argument("--turns", type=int, default=7, help="turns of each count (7)")
    parser.add_argument("--turn-seconds", type=float, default=0.5, help="least duration of one turn (0.5)")


def _counts(text: str) -> tuple[int, ...]:
    numbers = [int(word) if word.strip().isdecimal() else 0 for word in text.split(",")]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(expected("--counts", "whole numbers of at least 1", repr(text), "say 1,2,4"))
    return tuple(sorted({1, *numbers}))


def check(args: argparse.Namespace) -> None:
    """Raise `ValueError` for the size of another kind of sample."""
    size_of(args)


def run(args: argparse.Namespace) -> int:
    """Measure and print. Returns the exit code."""
    counts = args.counts or tuple(sorted({1, usable_cores()}))
    fix_threads(max(counts))
    step = _traced_step(args)
    contestants = {str(count): _on_threads(step, count, args.turn_seconds) for count in counts}
    report = _report(args, take_turns(contestants, args.turns, warm_up=1))
    _print(report)
    write(report, args, label="threads", figure="median_ms")
    return 0


def _traced_step(args: argparse.Namespace) -> Callable[[], Any]:
    workload = WORKLOADS[args.model]
    inputs, labels = workload.batch(args.batch_size, size_of(args), seed=0)
    step = trace(training_step(workload.build()))
    step(inputs, labels)
    return lambda: step(inputs, labels)


def _on_threads(step: Callable[[], Any], count: int, turn_seconds: float) -> Callable[[], float]:
    sample = repeated(step, least_seconds=turn_seconds)

    def turn() -> float:
        if num_threads() != count:
            set_num_threads(count)
            step()
        return sample()

    return turn


def _report(args: argparse.Namespace, measured: dict[str, Samples]) -> dict[str, Any]:
    rows = []
    for count, samples in measured.items():
        ratio = measured["1"].ratio_to(samples)
        rows.append(
            {
                "threads": int(count),
                **milliseconds(samples),
                "speed": ratio.median,
                "speed_min": ratio.least,
                "speed_max": ratio.greatest,
                "of_ideal": ratio.median / int(count),
            }
        )
    return record("threads", args, rows, model=args.model, batch_size=args.batch_size)


def _print(report: dict[str, Any]) -> None:
    print(f"{report['model']}, batch {report['batch_size']}, a traced training step; speed as times that of one thread")
    print(f"{'threads':>7}{'median ms':>11}{'min':>9}{'max':>9}{'speed':>8}{'min':>7}{'max':>7}{'of ideal':>10}")
    for row in report["rows"]:
        print(
            f"{row['threads']:>7}{row['median_ms']:>11.2f}{row['min_ms']:>9.2f}{row['max_ms']:>9.2f}"
            f"{row['speed']:>8.2f}{row['speed_min']:>7.2f}{row['speed_max']:>7.2f}{row['of_ideal']:>10.0%}"
        )
