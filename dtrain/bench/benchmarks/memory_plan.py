"""`dtrain bench memory_plan`: how long the memory of a training step takes to plan, and how tight the plan is.

The graph of forward, backward and an SGD update is captured once, then planned again and again; nothing is allocated.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass

from dtrain.base.errors import expected
from dtrain.base.turns import take_turns
from dtrain.bench.measure import together
from dtrain.bench.report import record, write
from dtrain.bench.training.workloads import WORKLOADS, training_step
from dtrain.capture.trace import trace
from dtrain.runtime.executor import Executor
from dtrain.runtime.memory_plan import plan_memory
from dtrain.runtime.memory_report import fullest

MEBI = 1 << 20
LARGEST_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The plan of one model's step: times in milliseconds, sizes in MiB.

    `alive_mib` is what lives at once at most, below which no arena can be, `workspace_mib` the largest of the kernels'
    workspaces, which lie in the arena, and `unshared_mib` what an arena would need in which no memory is used twice.
    """

    model: str
    nodes: int
    storages: int
    plan_ms: float
    least_ms: float
    arena_mib: float
    alive_mib: float
    workspace_mib: float
    unshared_mib: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the benchmark."""
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--model", action="append", choices=sorted(WORKLOADS), help="whose step (resnet18, resnet50); repeatable"
    )
    parser.add_argument("--batch-size", type=int, default=2, help="samples (2)")
    parser.add_argument("--repeats", type=int, default=15, help="plans that are timed (15)")


def check(args: argparse.Namespace) -> None:
    """Raise `ValueError` for arguments that no plan fits."""
    for name in ("batch_size", "repeats"):
        if getattr(args, name) < 1:
            flag = f"--{name.replace('_', '-')} of at least 1"
            raise ValueError(expected("bench memory_plan", flag, str(getattr(args, name))))


def run(args: argparse.Namespace) -> int:
    """Measure and print; returns the exit code."""
    print(
        f"{'model':<18}{'nodes':>6}{'storages':>9}{'plan ms':>9}{'least':>8}  {'arena MiB':>10}{'/ alive':>9}", end=""
    )
    print(f"{'workspace':>10}{'unshared':>10}")
    rows = []
    for model in args.model or ("resnet18", "resnet50"):
        row = measure(model, bound_step(model, args.batch_size), args.repeats)
        rows.append(row)
        print(_line(row), flush=True)
    print("/ alive: the arena over the bytes that live at once at most, below which none can be; 1 is tight")
    write(record("memory_plan", args, [asdict(row) for row in rows]), args, label="model", figure="plan_ms")
    return 0


def bound_step(name: str, batch_size: int) -> Executor:
    """One training step of this model on small samples: its optimized graph, and the workspaces of its kernels."""
    workload = WORKLOADS[name]
    traced = trace(training_step(workload.build()))
    traced(*workload.batch(batch_size, min(LARGEST_SIZE, workload.default_size), seed=0))
    return traced.compiled[0].executor


def measure(model: str, executor: Executor, repeats: int) -> Row:
    """Plan the memory of a step so many times."""
    graph = executor.graph
    asked = {node: workspace.nbytes for node, workspace in executor.plan.workspaces.items()}
    copying = {node for node, _ in executor.plan.copies}
    plan = plan_memory(graph, asked, copying)
    times = take_turns({"plan": together(None, lambda: plan_memory(graph, asked, copying))}, repeats)["plan"]
    storages = plan.arena_storages
    return Row(
        model=model,
        nodes=len(graph.nodes),
        storages=len(storages),
        plan_ms=times.median * 1e3,
        least_ms=times.least * 1e3,
        arena_mib=plan.arena_nbytes / MEBI,
        alive_mib=fullest(storages)[1] / MEBI,
        workspace_mib=plan.workspace_nbytes / MEBI,
        unshared_mib=plan.total_nbytes / MEBI,
    )


def _line(row: Row) -> str:
    times = f"{row.plan_ms:>9.1f}{row.least_ms:>8.1f}"
    tightness = row.arena_mib / row.alive_mib if row.alive_mib else 1.0
    sizes = f"{row.arena_mib:>10.2f}{tightness:>9.4f}{row.workspace_mib:>10.2f}{row.unshared_mib:>10.2f}"
    return f"{row.model:<18}{row.nodes:>6}{row.storages:>9}{times}  {sizes}"
