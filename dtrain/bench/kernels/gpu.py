"""Time the CUDA kernels of a workload on a GPU, by CUDA events: the GPU's half of `dtrain bench kernels`.

`measure_on_gpu` yields the same `Timing` rows as the CPU's `measure`. The reference here is the one a GPU runs, CuPy's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from dtrain.base.device import Device, as_device
from dtrain.base.dtype import DType
from dtrain.base.turns import take_turns
from dtrain.bench.kernels.timing import Timing, summarize
from dtrain.graph.calls import problem_of
from dtrain.kernels.call import Call, outputs_of
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.choice import candidates
from dtrain.kernels.problem import Problem
from dtrain.kernels.workspace import with_workspace

# Launches between two events: enough that the events' own cost does not show.
LAUNCHES = 20


def gpu_candidates(workload: Call, dtype: DType, device: Device) -> list[Candidate]:
    """The kernels of the op that run this workload on a GPU, best first, the reference last."""
    return candidates(problem_of(workload, dtype, device))


def measure_on_gpu(workload: Call, dtype: DType, repeats: int, index: int = 0) -> Iterator[Timing]:
    """One `Timing` per candidate on GPU `index`; samples of all candidates are interleaved."""
    import cupy

    with cupy.cuda.Device(index):
        device = as_device(f"cuda:{index}")
        chosen, problem = gpu_candidates(workload, dtype, device), problem_of(workload, dtype, device)
        inputs = [cupy.asarray(array) for array in workload.make_inputs(dtype.numpy)]
        outputs = [cupy.asarray(array) for array in outputs_of(problem)]
        samples = {}
        for candidate in chosen:
            call = _bound(candidate, inputs, outputs, dict(workload.attrs), problem)
            call()  # compiles
            samples[candidate.name] = partial(_seconds, call)
        measured = take_turns(samples, repeats)
    nbytes = sum(array.nbytes for array in (*inputs, *outputs))
    yield from summarize(workload, dtype, chosen, measured, nbytes)


def copy_gigabytes_per_second(index: int = 0, nbytes: int = 2**30) -> float:
    """What GPU `index` moves when it copies within its memory, bytes read plus bytes written: the limit of the rest."""
    import cupy

    with cupy.cuda.Device(index):
        source, target = cupy.empty(nbytes, "uint8"), cupy.empty(nbytes, "uint8")
        seconds = min(_seconds(lambda: cupy.copyto(target, source)) for _ in range(5))
    return 2 * nbytes / seconds / 1e9


def _bound(
    candidate: Candidate, inputs: list[Any], outputs: list[Any], attrs: dict[str, Any], problem: Problem
) -> Callable[[], None]:
    out = outputs[0] if len(outputs) == 1 else tuple(outputs)
    function = with_workspace(candidate.function, candidate.workspace_nbytes(problem), problem.device)
    return lambda: function(*inputs, out=out, **attrs)


def _seconds(call: Callable[[], None]) -> float:
    """Of one call, on the GPU's clock."""
    import cupy

    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    begin.record()
    for _ in range(LAUNCHES):
        call()
    end.record()
    end.synchronize()
    return float(cupy.cuda.get_elapsed_time(begin, end)) / 1e3 / LAUNCHES
