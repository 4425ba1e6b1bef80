"""Runs a graph again and again: memory is planned once, every kernel call is bound to its arrays once.

A run copies the arguments in, calls the bound kernels in order, copies the results out, and writes state updates home.
The states' arrays belong to the tensors that the user holds; if one was exchanged since the last run, the calls are
bound anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import length_hint
from typing import Any

import numpy as np

from dtrain.base.alignment import ALIGNMENT
from dtrain.base.device import CPU, Device
from dtrain.base.errors import TraceError, expected
from dtrain.core.tensor import Array, Tensor
from dtrain.graph.graph import Graph, Node, Value
from dtrain.kernels.device_arrays import copy_of, overwrite
from dtrain.kernels.quiet import quiet_context
from dtrain.runtime.buckets import BucketProvider, provide_buckets
from dtrain.runtime.dispatch import Dispatch, current_gpu, dispatch
from dtrain.runtime.memory_plan import MemoryPlan, plan_memory
from dtrain.runtime.storage import Block, Storage
from dtrain.runtime.unfinished_runs import tell_unfinished
from dtrain.runtime.written_memory import WrittenMemory, expect_separate_arguments, expect_separate_states

Step = Callable[[], Any]


class StateTypeError(TraceError):
    """A state holds an array of another type than when its graph was captured. Raised before anything has run."""


class Executor:
    """A graph bound to memory.

    `states` are the tensors behind the graph's states. The first `num_results` outputs are handed out as new arrays;
    further outputs stay in the executor's memory and are found in `kept` (valid until the next run). The caller writes
    results into the arguments at `written_arguments`. `provide` gives the memory of the plan's buckets.
    """

    def __init__(
        self,
        graph: Graph,
        states: Sequence[Tensor],
        *,
        num_results: int | None = None,
        written_arguments: Sequence[int] = (),
        provide: BucketProvider = provide_buckets,
    ) -> None:
        self.graph = graph
        self._provide = provide
        self.states = list(states)
        self.num_results = len(graph.outputs) if num_results is None else num_results
        self._written_arguments = written_arguments
        self._kernels = _kernels_of(graph)
        asked = {node: chosen.workspace_nbytes for node, chosen in self._kernels.items() if chosen.workspace_nbytes}
        self.plan: MemoryPlan = plan_memory(graph, asked)
        self._arenas = {device: _allocate(nbytes, device) for device, nbytes in self.plan.arenas.items()}
        self._talks = any(node.op.is_collective for node in graph.nodes)
        self._gpu = next((device for device in _devices_of(graph) if device.is_cuda), None)
        self._blocks = self._place_blocks(self.plan.blocks)
        self._arguments = [_empty(value) for value in graph.arguments]
        self._is_bound = False
        self._bound_states: list[Array] = []
        self._written = WrittenMemory(())
        self._steps: list[Step] = []
        self._sources: list[Node | None] = []
        self.kernel_names: list[str] = []

    def run(self, arguments: Sequence[Array]) -> list[Array]:
        """Run once. Arguments have the types of the graph's; returns the results as new arrays."""
        if self._gpu is None:
            return self._run_quietly(arguments)
        with current_gpu(self._gpu):
            return self._run_quietly(arguments)

    def _run_quietly(self, arguments: Sequence[Array]) -> list[Array]:
        # Eagerly each kernel call is quiet by itself (kernels/quiet.py); here one switch serves for all steps.
        if not self._talks:
            return quiet_context().run(self._run, arguments)
        with np.errstate(all="ignore"):  # slower, but collectives look for their communicator in the caller's context
            return self._run(arguments)

    def _run(self, arguments: Sequence[Array]) -> list[Array]:
        for bound, state in zip(self._bound_states, self.states):
            if state.array is not bound:
                self._is_bound = False
                break
        if not self._is_bound:
            self._bind()
        if self._updated or self._written_arguments:
            try:
                self._expect_separate(arguments)
            except BaseException:
                tell_unfinished([None, *self._sources])
                raise
        for buffer, argument in zip(self._arguments, arguments):
            if self._gpu is None:
                buffer[...] = argument  # memory of this executor's own, which no argument overlaps
            else:
                overwrite(buffer, argument)
        steps = iter(self._steps)
        try:
            for step in steps:
                step()
        except BaseException as error:
            reached = len(self._steps) - length_hint(steps) - 1
            tell_unfinished(self._sources[reached:])
            node = self._sources[reached]
            if node is not None and node.source and hasattr(error, "add_note"):
                error.add_note(f"in {node.op.name}, traced from {node.source}")
            raise
        results = [copy_of(array) for array in self._results]
        for target, source in self._home:
            overwrite(target, source)
        for state in self._updated:
            state.version += 1
        return results

    def _expect_separate(self, arguments: Sequence[Array]) -> None:
        values = self.graph.arguments
        if self._updated:
            for array, value in zip(arguments, values):
                self._written.expect_separate(array, value)
        if self._written_arguments:
            expect_separate_arguments(list(zip(arguments, values)), self._written_arguments, self._named_states())

    def _named_states(self) -> list[tuple[Array, Value]]:
        return list(zip(self._bound_states, self.graph.states))

    def run_collectives(self) -> None:
        """Run only the collectives, on whatever their memory holds: for measuring what they cost alone."""
        for step, node in zip(self._steps, self._sources):
            if node is not None and node.op.is_collective:
                step()

    def _bind(self) -> None:
        self._is_bound = False
        self._steps, self._sources, self.kernel_names = [], [], []
        self._home: list[tuple[Array, Array]] = []
        self._bind_states()
        arrays: dict[Value, Array] = dict(zip(self.graph.arguments, self._arguments))
        arrays.update(zip(self.graph.states, self._state_memory))
        for node in self.graph.nodes:
            self._bind_node(node, arrays)
        self._results = [arrays[value] for value in self.graph.outputs[: self.num_results]]
        self._bind_kept(arrays)
        self._bind_updates(arrays)
        self._is_bound = True

    def _bind_states(self) -> None:
        """Kernels work in the arrays of the states themselves, or in a contiguous copy where one has gaps."""
        self._bound_states = [state.concrete("a traced function's state") for state in self.states]
        self._updated = [self.states[position] for position in self.graph.updates]
        for value, array in zip(self.graph.states, self._bound_states):
            if array.shape != value.type.array_shape or array.dtype != value.type.array_dtype:
                given = f"an array of shape {array.shape} and dtype {array.dtype} put in its place"
                raise StateTypeError(expected("traced function", f"state {value.name} of type {value.type}", given))
        self._written = expect_separate_states(self._named_states(), list(self.graph.updates))
        self._state_memory = list(self._bound_states)
        for position, array in enumerate(self._bound_states):
            if not array.flags.c_contiguous:
                memory = self._state_memory[position] = copy_of(array)
                self._add_step(partial(_copy_into, array, out=memory), None, "copy")
                if position in self.graph.updates and position not in self.plan.copied_updates:
                    self._home.append((array, memory))

    def _bind_kept(self, arrays: dict[Value, Array]) -> None:
        """Gradients stay where they were computed unless that memory is also another's: those get their own."""
        self.kept: list[Array] = []
        taken: set[int] = set()
        for value in self.graph.outputs[self.num_results :]:
            array, storage = arrays[value], self.plan.storage[value]
            is_shared = storage.place != "arena" or id(storage) in taken
            if is_shared or not array.flags.c_contiguous:
                own = copy_of(array)
                self._home.append((own, array))
                array = own
            taken.add(id(storage))
            self.kept.append(array)

    def _bind_updates(self, arrays: dict[Value, Array]) -> None:
        """State updates that live elsewhere are copied home after a run; states that swap go through a copy."""
        for position, value in self.plan.copied_updates.items():
            source = arrays[value]
            if self.plan.storage[value].place == "state":
                staged = copy_of(source)
                self._add_step(partial(_copy_into, source, out=staged), None, "copy")
                source = staged
            self._home.append((self._bound_states[position], source))

    def _bind_node(self, node: Node, arrays: dict[Value, Array]) -> None:
        inputs = [arrays[value] for value in node.inputs]
        if node.op.name == "constant":
            arrays[node.outputs[0]] = _to_device(node.attrs["value"], node.outputs[0].type.device)
            return
        if node.op.view is not None:
            viewed = node.op.view(inputs[0], **node.attrs)
            value = node.outputs[0]
            if self.plan.storage[value] is self.plan.storage[node.inputs[0]]:
                arrays[value] = viewed
                return
            arrays[value] = self._place(value)
            self._add_step(partial(_copy_view, node.op.view, node.attrs, inputs[0], arrays[value]), node, "copy")
            return
        outputs = [self._place(value) for value in node.outputs]
        arrays.update(zip(node.outputs, outputs))
        self._bind_kernel(node, inputs, outputs)

    def _bind_kernel(self, node: Node, inputs: list[Array], outputs: list[Array]) -> None:
        kernel = self._kernels[node].kernel
        assert kernel is not None, node
        if kernel.needs_contiguous:
            inputs = [self._made_contiguous(array, node) for array in inputs]
        out = outputs[0] if len(outputs) == 1 else tuple(outputs)
        workspace = self._raw(self.plan.workspaces[node]) if node in self.plan.workspaces else None
        self._add_step(kernel.bind(inputs, out, node.attrs, workspace), node, kernel.name)

    def _made_contiguous(self, array: Array, node: Node) -> Array:
        if array.flags.c_contiguous:
            return array
        copy = copy_of(array)
        self._add_step(partial(_copy_into, array, out=copy), node, "copy")
        return copy

    def _add_step(self, step: Step, node: Node | None, kernel_name: str) -> None:
        self._steps.append(step)
        self._sources.append(node)
        self.kernel_names.append(kernel_name)

    def _place_blocks(self, blocks: Sequence[Block]) -> dict[int, Array]:
        """The memory of each block, by its identity."""
        found = self._provide([block.request for block in blocks])
        return {
            id(block): _allocate(block.nbytes, block.members[0].device) if memory is None else memory
            for block, memory in zip(blocks, found, strict=True)
        }

    def _place(self, value: Value) -> Array:
        """The array of a value at its planned place."""
        storage = self.plan.storage[value]
        if storage.place == "state":
            return self._state_memory[storage.position].reshape(value.type.array_shape)
        return self._in_arena(value, storage)

    def _in_arena(self, value: Value, storage: Storage) -> Array:
        raw = self._raw(storage)[: value.type.nbytes]
        return raw.view(value.type.array_dtype).reshape(value.type.array_shape)

    def _raw(self, storage: Storage) -> Array:
        """The bytes of a storage in an arena or a block."""
        memory = self._arenas[storage.device] if storage.block is None else self._blocks[id(storage.block)]
        return memory[storage.offset : storage.offset + storage.nbytes]


def _copy_into(source: Array, *, out: Array) -> None:
    overwrite(out, source)


def _copy_view(view: Callable[..., Array], attrs: dict[str, Any], source: Array, target: Array) -> None:
    overwrite(target, view(source, **attrs))


def _kernels_of(graph: Graph) -> dict[Node, Dispatch]:
    """What every node computes with: chosen once, since the plan has room for what these kernels use."""
    return {
        node: dispatch(node.op, tuple(value.type for value in node.inputs), node.attrs)
        for node in graph.nodes
        if node.op.view is None and node.op.name != "constant"
    }


def _devices_of(graph: Graph) -> list[Device]:
    """The CPU and every other device that a value lies on, in order of appearance."""
    values = [*graph.inputs, *(value for node in graph.nodes for value in node.outputs)]
    return list(dict.fromkeys([CPU, *(value.type.device for value in values)]))


def _allocate(nbytes: int, device: Device) -> Array:
    if device.is_cuda:
        import cupy

        with current_gpu(device):
            return cupy.empty(nbytes, np.uint8)
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes]


def _empty(value: Value) -> Array:
    raw = _allocate(value.type.nbytes, value.type.device)
    return raw.view(value.type.array_dtype).reshape(value.type.array_shape)


def _to_device(array: np.ndarray, device: Device) -> Array:
    if not device.is_cuda:
        return array
    import cupy

    with current_gpu(device):
        return cupy.asarray(array)
