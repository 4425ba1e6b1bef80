"""`python -m dtrain.kernels.bench [--op OP] [--dtype f32] [--device cuda] [--repeats 9] [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from dtrain.base.cuda import placement
from dtrain.base.dtype import as_dtype
from dtrain.base.errors import DeviceError, expected
from dtrain.kernels.bench.measure import Timing, measure
from dtrain.kernels.bench.shapes import Workload, workloads
from dtrain.kernels.cuda.bench import copy_gigabytes_per_second, gpu_candidates, measure_on_gpu


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m dtrain.kernels.bench", description=sys.modules[__name__].__doc__)
    made.add_argument("--op", action="append", default=[], help="time only this op (repeatable)")
    made.add_argument("--dtype", default="f32", help="f32 or f64 (default f32)")
    made.add_argument("--device", default="cpu", help="cpu, or a GPU: cuda, cuda:1 (default cpu)")
    made.add_argument("--repeats", type=int, default=9, help="interleaved samples of each kernel (default 9)")
    made.add_argument("--json", type=Path, help="also write all timings to this file")
    return made


def select(ops: Sequence[str]) -> list[Workload]:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Time, print, write; the exit status."""
    options = parser().parse_args(arguments)
    dtype = as_dtype(options.dtype)
    try:
        chosen, device = select(options.op), placement(options.device)
    except (ValueError, DeviceError) as error:
        print(error, file=sys.stderr)
        return 2
    timings = []
    if device.is_cuda:
        limit = copy_gigabytes_per_second(device.index)
        print(f"{device}: a copy within its memory moves {limit:.0f} GB/s, read and written")
        chosen = [workload for workload in chosen if gpu_candidates(workload, dtype, device)]
    for workload in chosen:
        print(f"{workload.op} {dtype.tag} {workload.label}", flush=True)
        for timing in (
            measure_on_gpu(workload, dtype, options.repeats, device.index)
            if device.is_cuda
            else measure(workload, dtype, options.repeats)
        ):
            timings.append(timing)
            print(line(timing), flush=True)
    if options.json is not None:
        record = {
            "machine": platform.processor() or platform.machine(),
            "device": str(device),
            "timings": [t.as_dict() for t in timings],
        }
        options.json.write_text(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
