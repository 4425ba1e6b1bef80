"""`dtrain bench kernels`: every kernel of an op over the shapes of training, beside the reference, as shares of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from dtrain.base.cuda import placement
from dtrain.base.dtype import as_dtype
from dtrain.base.errors import expected
from dtrain.bench.kernels.gpu import copy_gigabytes_per_second, gpu_candidates, measure_on_gpu
from dtrain.bench.kernels.timing import Timing, measure
from dtrain.bench.kernels.workloads import workloads
from dtrain.bench.report import record, write
from dtrain.kernels.call import Call


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the benchmark."""
    parser.description = __doc__
    parser.add_argument("--op", action="append", default=[], help="time only this op (repeatable)")
    parser.add_argument("--dtype", default="f32", help="f32 or f64 (default f32)")
    parser.add_argument("--device", default="cpu", help="cpu, or a GPU: cuda, cuda:1 (default cpu)")
    parser.add_argument("--repeats", type=int, default=9, help="interleaved samples of each kernel (default 9)")


def select(ops: Sequence[str]) -> list[Call]:
    """The workloads of these ops, or all. Raises ValueError for an op that has none."""
    known = list(workloads())
    names = sorted({workload.op for workload in known})
    for op in ops:
        if op not in names:
            raise ValueError(expected("--op", "one of " + ", ".join(names), op))
    return [workload for workload in known if not ops or workload.op in ops]


def line(timing: Timing) -> str:
    """One row of the table."""
    is_compute = timing.gigaflops is not None
    rate = f"{timing.gigaflops:8.2f} GFLOP/s" if is_compute else f"{timing.gigabytes_per_second:8.2f} GB/s   "
    return (
        f"  {timing.kernel:<52} {timing.microseconds:10.1f} µs ±{timing.spread * 100:3.0f}%  {rate} "
        f"{timing.speedup_over_reference:7.2f}x reference"
    )


def check(args: argparse.Namespace) -> None:
    """Raise `ValueError` or `DeviceError` for an op without workloads, an unknown dtype, a device that is not here."""
    select(args.op)
    as_dtype(args.dtype)
    placement(args.device)


def run(args: argparse.Namespace) -> int:
    """Time, print, write; the exit status."""
    dtype, chosen, device = as_dtype(args.dtype), select(args.op), placement(args.device)
    facts: dict[str, Any] = {"device": str(device)}
    if device.is_cuda:
        limit = facts["copy_gigabytes_per_second"] = copy_gigabytes_per_second(device.index)
        print(f"{device}: a copy within its memory moves {limit:.0f} GB/s, read and written")
        chosen = [workload for workload in chosen if gpu_candidates(workload, dtype, device)]
    rows: list[dict[str, Any]] = []
    for workload in chosen:
        print(f"{workload.op} {dtype.tag} {workload.label}", flush=True)
        for timing in (
            measure_on_gpu(workload, dtype, args.repeats, device.index)
            if device.is_cuda
            else measure(workload, dtype, args.repeats)
        ):
            rows.append({"label": f"{timing.kernel} {timing.workload}", **timing.as_dict()})
            print(line(timing), flush=True)
    write(record("kernels", args, rows, **facts), args, label="label", figure="speedup_over_reference")
    return 0
