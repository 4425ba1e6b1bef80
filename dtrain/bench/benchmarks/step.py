"""`dtrain bench step`: what a training step costs in computation, in communication, and together.

Three measurements of one compiled graph, in turn, so that drift of the machine hits all alike:
compute (the same graph, collectives return at once), communication (its collectives alone), step (everything).
Exposed communication is step − compute, formed within each turn; it is what communication really costs the run. Beside
it stands the time that ranks stood still in collectives, which also holds waiting for a slower rank.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from dtrain import optim
from dtrain.base.errors import expected
from dtrain.base.turns import Samples, take_turns
from dtrain.bench.measure import slowest, together
from dtrain.bench.report import record, write
from dtrain.bench.training.workloads import WORKLOADS, add_size_flags, size_of
from dtrain.capture.trace import TracedFunction, trace
from dtrain.collectives import exposed_time
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.passes.pack_all_reduce import bucket_plan
from dtrain.collectives.public.session import init
from dtrain.collectives.training.data_parallel_model import data_parallel
from dtrain.collectives.training.sync_batch_norm import convert_sync_batch_norm
from dtrain.collectives.transports.membership import Membership
from dtrain.collectives.transports.table import join
from dtrain.collectives.world.context import using
from dtrain.core.tensor import Tensor
from dtrain.functional import cross_entropy
from dtrain.runtime.executor import Executor

DESCRIPTION = """\
Time a training step on this many ranks: computation alone, communication alone, and both together.

examples:
  dtrain bench step -np 2 --model resnet18
  dtrain bench step -np 2 --model resnet18 --sync-bn --bucket-mb 1 -J step.json
  dtrain bench step -np 2 --model resnet18 --bucket-mb 4 --overlap
"""


LABELS = {
    "compute": "computation alone",
    "communication": "communication alone",
    "step": "step",
    "exposed": "step − computation",
    "standing": "standing in collectives",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the benchmark."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", choices=sorted(WORKLOADS), default="resnet18", help="what to train (resnet18)")
    parser.add_argument("--batch-size", type=int, default=16, help="samples per rank (16)")
    add_size_flags(parser)
    parser.add_argument("--steps", type=int, default=10, help="measured steps of each kind (10)")
    parser.add_argument("--warmup", type=int, default=2, help="steps before measuring (2)")
    parser.add_argument("--sync-bn", action="store_true", help="batch norm over all ranks")
    parser.add_argument("--bucket-mb", type=float, default=None, help="largest gradient bucket in MiB (25); 0: none")
    parser.add_argument("--overlap", action="store_true", help="buckets under way while backward computes on")


def check(args: argparse.Namespace) -> None:
    """Raise `ValueError` for arguments that no step fits."""
    for name, least in (("batch_size", 1), ("steps", 1), ("warmup", 0), ("bucket_mb", 0)):
        value = getattr(args, name)
        if value is not None and not value >= least:
            raise ValueError(expected("bench step", f"--{name.replace('_', '-')} of at least {least}", str(value)))
    size_of(args)


def run(args: argparse.Namespace) -> int:
    """Run on this rank; rank 0 prints. Returns the exit code."""
    check(args)
    world = init()
    step, batch = _build(args, world)
    for _ in range(max(1, args.warmup)):
        step(*batch)
    executor = step.compiled[-1].executor
    report = _report(args, world, executor, _measure(world, step, batch, executor, args.steps))
    if world.rank == 0:
        _print(report)
        write(report, args, label="what", figure="median_ms")
    return 0


def _build(args: argparse.Namespace, world: Communicator) -> tuple[TracedFunction[Any, Tensor], tuple[Tensor, Tensor]]:
    workload = WORKLOADS[args.model]
    plain = workload.build()
    model = data_parallel(convert_sync_batch_norm(plain) if args.sync_bn else plain, bucket_mb=args.bucket_mb)
    optimizer = optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step(inputs: Tensor, labels: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return trace(overlap=args.overlap)(step), workload.batch(args.batch_size, size_of(args), seed=world.rank)


def _measure(
    world: Communicator, step: Callable[..., Any], batch: tuple[Tensor, Tensor], executor: Executor, repeats: int
) -> dict[str, Samples]:
    silent = join("silent", Membership(range(world.size), beside=world), "it costs no time")
    assert silent is not None
    stood: list[float] = []
    whole = together(world, lambda: step(*batch))

    def everything() -> float:
        before = exposed_time.seconds()
        seconds = whole()
        stood.append(exposed_time.seconds() - before)
        return seconds

    def computation() -> float:
        with using(silent):
            return together(None, lambda: step(*batch))()

    alone = {"step": everything, "communication": together(world, executor.run_collectives), "compute": computation}
    measured = take_turns(alone, repeats)
    # The slowest rank decides how long a step takes.
    return slowest(world, {**measured, "standing": Samples(tuple(stood))})


def _report(
    args: argparse.Namespace, world: Communicator, executor: Executor, measured: dict[str, Samples]
) -> dict[str, Any]:
    milliseconds = {name: [seconds * 1e3 for seconds in samples.seconds] for name, samples in measured.items()}
    differences = [whole - alone for whole, alone in zip(milliseconds["step"], milliseconds["compute"])]
    milliseconds["exposed"] = differences
    compute, communication, step = (median(milliseconds[name]) for name in ("compute", "communication", "step"))
    exposed, noise = median(differences), noise_of(differences)
    plan = bucket_plan(executor.graph)
    return record(
        "step",
        args,
        [
            {"what": label, "median_ms": median(values), "min_ms": min(values), "max_ms": max(values)}
            for name, label in LABELS.items()
            for values in [milliseconds[name]]
        ],
        model=args.model,
        world_size=world.size,
        communicator=world.name,
        algorithm=world.algorithm("all_reduce_many", max((bucket.nbytes for bucket in plan), default=0)),
        batch_size_per_rank=args.batch_size,
        sync_bn=args.sync_bn,
        overlap=args.overlap,
        compute_ms=compute,
        communication_ms=communication,
        step_ms=step,
        exposed_ms=exposed,
        exposed_noise_ms=noise,
        exposed_share=exposed / step,
        overlap_share=overlap_share(exposed, communication, noise),
        standing_ms=median(milliseconds["standing"]),
        samples_per_second=world.size * args.batch_size / step * 1e3,
        buckets=[bucket.as_dict() for bucket in plan],
        kernels=_kernel_counts(executor),
        gradients_read_in_buckets=gradients_read_in_buckets(executor),
        arena_mib=executor.plan.arena_nbytes / 2**20,
        workspace_mib=executor.plan.workspace_nbytes / 2**20,
    )


def noise_of(values: Sequence[float]) -> float | None:
    """How far the median may lie from the true one: two standard errors, from the spread about it. None for fewer than
    three values, which say nothing about it.
    """
    if len(values) < 3:
        return None
    middle = median(values)
    deviation = 1.4826 * median(abs(value - middle) for value in values)
    return float(2 * 1.2533 * deviation / len(values) ** 0.5)


def overlap_share(exposed: float, communication: float, noise: float | None) -> float | None:
    """The part of communication that computation hides, in [0, 1]; None where the noise is as large as communication
    itself, so that none and all of it look the same.
    """
    if noise is None or communication <= noise:
        return None
    return min(1.0, max(0.0, 1 - exposed / communication))


def exposed_words(report: Mapping[str, Any]) -> str:
    """What can be said of exposed communication. A difference that lies under the noise is called that."""
    exposed, communication, noise = report["exposed_ms"], report["communication_ms"], report["exposed_noise_ms"]
    if noise is None:
        return "  under the noise: three steps at least tell how large it is (--steps 10)"
    within = f"{noise:.2f} ms"
    if abs(exposed) <= noise or exposed < 0:
        return f"  under the noise: no difference between step and computation that its spread ({within}) could show"
    text = f"{report['exposed_share']:>10.1%} of the step (± {within})"
    if report["overlap_share"] is None:
        return f"{text}; how much is hidden lies under the noise"
    if exposed > communication + noise:
        return f"{text}; nothing hidden: ranks also wait for the slowest of them"
    return f"{text}; {report['overlap_share']:.0%} hidden"


def _kernel_counts(executor: Executor) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in executor.kernel_names:
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))


def gradients_read_in_buckets(executor: Executor) -> int:
    """How many gradients the update reads where the sum of the ranks left them, without a copy in the arena."""
    storage = executor.plan.storage
    updates = [node for node in executor.graph.nodes if node.op.name.endswith("_update")]
    return sum(storage[value].block is not None for node in updates for value in node.inputs)


def _print(report: dict[str, Any]) -> None:
    print(
        f"{report['model']}: {report['world_size']} rank(s), {report['batch_size_per_rank']} samples each, "
        f"{report['communicator']} communicator ({report['algorithm']}), "
        f"{'sync-BN' if report['sync_bn'] else 'plain BN'}"
    )
    print(f"{'':24}{'median':>10}{'min':>10}{'max':>10}")
    for row in report["rows"]:
        print(f"{row['what']:24}{row['median_ms']:>10.2f}{row['min_ms']:>10.2f}{row['max_ms']:>10.2f} ms")
    print(f"{'exposed share':24}{exposed_words(report)}")
    print(f"{'throughput':24}{report['samples_per_second']:>10.1f} samples/s")
    buckets = report["buckets"]
    gradients = sum(len(bucket["labels"]) for bucket in buckets)
    sizes = ", ".join(f"{bucket['nbytes'] / 2**20:.2f}" for bucket in buckets)
    print(f"gradient all-reduces: {gradients} in {len(buckets)} message(s) of {sizes or 'nothing'} MiB")
    kernels = report["kernels"]
    divides, copies = (sum(n for name, n in kernels.items() if name.startswith(op)) for op in ("div", "copy"))
    print(
        f"read by the update in its bucket: {report['gradients_read_in_buckets']} of {gradients} gradients; "
        f"{sum(kernels.values())} kernel calls, of which {divides} div and {copies} copy; "
        f"arena {report['arena_mib']:.2f} MiB, with up to {report['workspace_mib']:.2f} MiB of kernels' workspace"
    )
