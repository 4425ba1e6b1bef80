"""What an op does on given input types: its output types, and the kernel that computes them.

All of it follows from the types and attributes alone, so that it is worked out once per op and combination of these,
and kept in the op's dispatch cache. Arrays come in and go out: tensors are a floor above.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from dtrain.base.cuda import check_cuda_device
from dtrain.base.device import CPU, Device
from dtrain.base.dtype import DType, float32, int64
from dtrain.base.errors import DeviceError, DtypeError, expected
from dtrain.base.promotion import common_dtype
from dtrain.base.tensor_type import Shape, TensorType
from dtrain.graph.constant import CONSTANT
from dtrain.graph.graph import Node
from dtrain.graph.inference import expect_rules, infer_types
from dtrain.graph.op import Op, all_ops
from dtrain.kernels.array_module import Array
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.choice import choose
from dtrain.kernels.device_arrays import contiguous, overwrite
from dtrain.kernels.policy import when_policy_changes
from dtrain.kernels.problem import Problem
from dtrain.kernels.quiet import quiet, quiet_context
from dtrain.kernels.workspace import with_workspace

_MAX_CACHED = 4096


class Dispatch:
    """What an op does on given input types: its output types, and the kernel that computes them."""

    __slots__ = (
        "cast_to",
        "compute",
        "empty",
        "function",
        "kernel",
        "one",
        "op",
        "outputs",
        "types",
        "view",
        "workspace_nbytes",
    )

    def __init__(self, op: Op, types: tuple[TensorType, ...], attrs: dict[str, Any]) -> None:
        self.op = op
        expect_rules(op.name, types)
        self.cast_to = _common_dtype(op, types)
        if self.cast_to is not None:
            return
        device = _common_device(op, types, attrs)
        self.types = infer_types(op, types, attrs)
        _check_dtypes(op, types)
        self.outputs = [(type.array_shape, type.array_dtype) for type in self.types]
        self.kernel: Candidate | None = None
        self.workspace_nbytes = 0
        # Where the outputs live: `to_device` has its input elsewhere.
        target = self.types[0].device if self.types else device
        self.empty = _empty_on(target)
        self.view = None if op.view is None else op.view.function
        if self.view is not None and device.is_cuda:
            self.view = _under(self.view, device)  # a reshape of an array with gaps copies it
        if op.view is None and op is not CONSTANT:
            self.kernel, self.workspace_nbytes = _choose(Problem(op.name, types, self.types, attrs), target)
            self.function = with_workspace(self.kernel.function, self.workspace_nbytes, device)
            # Collectives find their communicator in the caller's context.
            self.compute = self.function if op.is_collective else quiet(self.function)
        # `run` of a single output, the way that small ops take.
        has_one = len(self.types) == 1 and not op.is_dynamic and op is not CONSTANT
        self.one = self._one(attrs, len(types)) if has_one else None

    def run(self, arrays: Sequence[Array], attrs: dict[str, Any]) -> list[Array]:
        """Compute into new arrays.

        The attributes are those of this call: the cached ones equal them, but 0.0 == -0.0 and 1 == True.
        """
        if self.one is not None:
            return [self.one(arrays, attrs)]
        if self.op.is_dynamic:
            results: Any = self.compute(*arrays, **attrs)
            return list(results) if isinstance(results, tuple) else [results]
        assert self.kernel is not None, self.op
        if self.kernel.needs_contiguous:
            arrays = [contiguous(array) for array in arrays]
        into = [self.empty(shape, dtype) for shape, dtype in self.outputs]
        self.compute(*arrays, out=tuple(into), **attrs)
        return into

    def _one(self, given: dict[str, Any], num_inputs: int) -> Callable[[Sequence[Array], dict[str, Any]], Array]:
        """What computes the only output, with nothing left to ask.

        Python takes 0.3 µs to pass on arguments that it must unpack: most ops have one or two inputs and no attributes.
        """
        view, empty = self.view, self.empty
        if view is not None:
            return lambda arrays, attrs: view(arrays[0], **attrs)
        assert self.kernel is not None, self.op
        function, needs_contiguous, is_quiet = self.function, self.kernel.needs_contiguous, not self.op.is_collective
        ((shape, dtype),) = self.outputs

        def of_one(arrays: Sequence[Array], _: dict[str, Any]) -> Array:
            array = contiguous(arrays[0]) if needs_contiguous else arrays[0]
            out = empty(shape, dtype)
            quiet_context().run(function, array, out=out)
            return out

        def of_two(arrays: Sequence[Array], _: dict[str, Any]) -> Array:
            first, second = map(contiguous, arrays) if needs_contiguous else arrays
            out = empty(shape, dtype)
            quiet_context().run(function, first, second, out=out)
            return out

        def of_any(arrays: Sequence[Array], attrs: dict[str, Any]) -> Array:
            if needs_contiguous:
                arrays = [contiguous(array) for array in arrays]
            out = empty(shape, dtype)
            if is_quiet:  # `compute`, in place
                quiet_context().run(function, *arrays, out=out, **attrs)
            else:
                function(*arrays, out=out, **attrs)
            return out

        if given or not is_quiet:
            return of_any
        return {1: of_one, 2: of_two}.get(num_inputs, of_any)

    def run_into(self, arrays: Sequence[Array], attrs: dict[str, Any], into: Sequence[Array]) -> None:
        """Compute into given arrays, some of which may be inputs that the op overwrites."""
        assert self.kernel is not None, self.op
        out = list(into)
        if self.kernel.needs_contiguous:
            arrays = [contiguous(array) for array in arrays]
            out = [contiguous(array) for array in out]
        self.compute(*arrays, out=out[0] if len(out) == 1 else tuple(out), **attrs)
        for target, computed in zip(into, out):
            if target is not computed:
                overwrite(target, computed)


class Chosen(NamedTuple):
    """A kernel for one problem, and the bytes of scratch memory that a call of it uses."""

    kernel: Candidate
    workspace_nbytes: int


def kernel_of(node: Node) -> Chosen:
    """The kernel of a node. Its values have their types: nothing is inferred."""
    inputs, outputs = ([value.type for value in values] for values in (node.inputs, node.outputs))
    problem = Problem(node.op.name, inputs, outputs, node.attrs)
    return _choose(problem, outputs[0].device if outputs else problem.device)


_chosen: dict[tuple[Problem, Device], Chosen] = {}
# Another thread may change the policy while one chooses. What it chooses then serves its call, and is not kept.
_num_policies = 0
_keeping = threading.Lock()


def _choose(problem: Problem, target: Device) -> Chosen:
    """The kernel for a problem whose outputs shall lie on `target`: chosen once, also where a graph has it again."""
    found = _chosen.get((problem, target))
    if found is None:
        policy = _num_policies
        kernel = choose(problem)
        gpu = target if target.is_cuda else problem.device
        found = Chosen(_on_gpu(kernel, gpu) if gpu.is_cuda else kernel, kernel.workspace_nbytes(problem))
        _keep(_chosen, (problem, target), found, policy)
    return found


def _keep(cache: dict[Any, Any], key: Any, value: Any, policy: int) -> None:
    """Keep what was decided under a policy, unless there is another one by now."""
    with _keeping:
        if policy == _num_policies:
            if len(cache) >= _MAX_CACHED:
                cache.clear()
            cache[key] = value


def _common_dtype(op: Op, types: tuple[TensorType, ...]) -> DType | None:
    if not op.promotes or len(types) < 2:
        return None
    common = common_dtype(types)
    return None if all(type.dtype is common for type in types) else common


def _check_dtypes(op: Op, types: tuple[TensorType, ...]) -> None:
    """What inference let pass, since it looks at shapes: dtypes that no kernel of the op is meant for."""
    for position, type in enumerate(types):
        # An op that takes a quantized input by a rule of its own works on the stored integers.
        if type.element.storage not in op.dtypes and position not in op.beside:
            wanted = "inputs of dtype " + ", ".join(dtype.tag for dtype in op.dtypes)
            usual = next((dtype for dtype in (int64, float32) if dtype in op.dtypes), op.dtypes[-1])
            raise DtypeError(expected(op.name, wanted, ", ".join(map(str, types)), f"cast with .to('{usual.tag}')"))


def _common_device(op: Op, types: tuple[TensorType, ...], attrs: dict[str, Any]) -> Device:
    if not types:
        return attrs.get("device") or CPU
    device = types[0].device
    for type in types:
        if type.device is not device:
            given = ", ".join(map(str, types))
            raise DeviceError(expected(op.name, "inputs on one device", given, "move them with .to(device)"))
    return device


def _empty_on(device: Device) -> Callable[[Shape, np.dtype], Array]:
    if not device.is_cuda:
        return np.empty
    check_cuda_device(device.index)
    import cupy

    def empty(shape: Shape, dtype: np.dtype) -> Array:
        with current_gpu(device):
            return cupy.empty(shape, dtype)

    return empty


def _on_gpu(kernel: Candidate, device: Device) -> Candidate:
    """The same kernel, run with `device` as CuPy's current one."""
    return replace(kernel, function=_under(kernel.function, device))


def _under(function: Callable[..., Any], device: Device) -> Callable[..., Any]:
    """The function, called with `device` as CuPy's current one."""

    def call(*inputs: Array, **attrs: Any) -> Any:
        with current_gpu(device):
            return function(*inputs, **attrs)

    return call


def current_gpu(device: Device) -> Any:
    """A context in which `device` is the one that CuPy allocates and launches on."""
    import cupy

    return cupy.cuda.Device(device.index)


def dispatch(op: Op, types: tuple[TensorType, ...], attrs: dict[str, Any]) -> Dispatch:
    """The cached decision for these input types and attributes."""
    found: Dispatch | None = op.dispatch_cache.get((types, tuple(attrs.items())) if attrs else types)
    return decide(op, types, attrs) if found is None else found


def decide(op: Op, types: tuple[TensorType, ...], attrs: dict[str, Any]) -> Dispatch:
    """The decision for input types and attributes that the cache does not hold, kept there from now on."""
    policy = _num_policies
    decided = Dispatch(op, types, attrs)
    _keep(op.dispatch_cache, (types, tuple(attrs.items())) if attrs else types, decided, policy)
    return decided


def _forget() -> None:
    global _num_policies
    with _keeping:
        for op in all_ops():
            op.dispatch_cache.clear()
        _chosen.clear()
        _num_policies += 1  # last: who reads the new number finds nothing of before


when_policy_changes(_forget)
