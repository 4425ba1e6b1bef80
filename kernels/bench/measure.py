"""Time kernels against the reference of their op: interleaved, so that a slow moment of the machine hits all alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any

from dtrain.base.dtype import DType
from dtrain.kernels.bench.shapes import Workload
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.choice import candidates
from dtrain.kernels.timing import interleaved_seconds
from dtrain.kernels.workspace import bind_alone


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Median and spread of one kernel on one workload. `spread` is (90th − 10th percentile) / median."""

    op: str
    workload: str
    dtype: str
    kernel: str
    isa: str
    microseconds: float
    spread: float
    gigabytes_per_second: float
    gigaflops: float | None
    speedup_over_reference: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(workload: Workload, dtype: DType, repeats: int) -> Iterator[Timing]:
    """One `Timing` per candidate."""
    inputs, outputs = workload.make_inputs(dtype.numpy), workload.make_outputs(dtype.numpy)
    out = outputs[0] if len(outputs) == 1 else tuple(outputs)
    problem = workload.problem(dtype)
    chosen = candidates(problem)
    calls = [bind_alone(info, problem, inputs, out) for info in chosen]
    samples = interleaved_seconds(calls, repeats)
    yield from summarize(workload, dtype, chosen, samples, sum(array.nbytes for array in (*inputs, *outputs)))


def summarize(
    workload: Workload, dtype: DType, kernels: Sequence[Candidate], samples: Sequence[Sequence[float]], nbytes: int
) -> Iterator[Timing]:
    """One `Timing` per kernel from its samples in seconds; the last kernel is the reference."""
    reference_time = median(samples[-1])
    for info, times in zip(kernels, samples):
        middle = median(times)
        deciles = quantiles(times, n=10) if len(times) > 1 else [middle] * 9
        yield Timing(
            op=workload.op,
            workload=workload.label,
            dtype=dtype.tag,
            kernel=info.name,
            isa=info.isa,
            microseconds=middle * 1e6,
            spread=(deciles[-1] - deciles[0]) / middle,
            gigabytes_per_second=nbytes / middle / 1e9,
            gigaflops=workload.flops / middle / 1e9 if workload.flops else None,
            speedup_over_reference=reference_time / middle,
        )
