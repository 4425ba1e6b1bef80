"""`dtrain explain memory MODEL`: where the memory of a training step goes, and what lies there when it is fullest.

    dtrain explain memory resnet50 --batch-size 16
    dtrain explain memory digits_cnn --most 30

For a traced function of your own: `dtrain.runtime.memory_report.memory_report(compiled.graph, compiled.executor.plan)`
for each `compiled` of `function.compiled`.
"""

from __future__ import annotations

import argparse

from dtrain.base.errors import expected
from dtrain.bench.benchmarks.memory_plan import bound_step
from dtrain.bench.training.workloads import WORKLOADS
from dtrain.runtime.memory_report import memory_report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", choices=sorted(WORKLOADS), help="whose step")
    parser.add_argument("--batch-size", type=int, default=2, help="samples (2)")
    parser.add_argument("--most", type=int, default=12, help="storages to list, the largest (12)")


def run(args: argparse.Namespace) -> int:
    """Print the report; the exit status."""
    for name in ("batch_size", "most"):
        if getattr(args, name) < 1:
            flag = f"--{name.replace('_', '-')} of at least 1"
            raise ValueError(expected("explain memory", flag, str(getattr(args, name))))
    executor = bound_step(args.model, args.batch_size)
    print(memory_report(executor.graph, executor.plan, most=args.most))
    return 0
