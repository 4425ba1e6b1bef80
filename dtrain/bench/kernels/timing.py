"""Time kernels against the reference of their op: interleaved, so that a slow moment of the machine hits all alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dtrain.base.dtype import DType
from dtrain.base.turns import Samples
from dtrain.graph.calls import problem_of
from dtrain.kernels.call import Call, outputs_of
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.choice import candidates
from dtrain.kernels.measured import timed


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


def measure(workload: Call, dtype: DType, repeats: int) -> Iterator[Timing]:
    """One `Timing` per candidate."""
    problem = problem_of(workload, dtype)
    inputs, outputs = workload.make_inputs(dtype.numpy), outputs_of(problem)
    chosen = candidates(problem)
    measured = timed(problem, chosen, inputs, outputs, repeats)
    nbytes = sum(array.nbytes for array in (*inputs, *outputs))
    yield from summarize(workload, dtype, chosen, measured, nbytes)


def summarize(
    workload: Call, dtype: DType, kernels: Sequence[Candidate], measured: Mapping[str, Samples], nbytes: int
) -> Iterator[Timing]:
    """One `Timing` per kernel; the last kernel is the reference."""
    reference = measured[kernels[-1].name]
    for candidate in kernels:
        samples = measured[candidate.name]
        yield Timing(
            op=workload.op,
            workload=workload.label,
            dtype=dtype.tag,
            kernel=candidate.name,
            isa=candidate.isa,
            microseconds=samples.median * 1e6,
            spread=samples.spread,
            gigabytes_per_second=nbytes / samples.median / 1e9,
            gigaflops=workload.flops / samples.median / 1e9 if workload.flops else None,
            speedup_over_reference=reference.ratio_to(samples).median,
        )
