"""Runs a graph again and again: memory is planned once, every kernel call is bound to its arrays once.

A run copies the arguments in, calls the bound kernels in order, copies the results out, and writes state updates home.
The arrays of states belong to who holds the states, such as a user's tensors; if one was exchanged since the last run,
the calls are bound anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import length_hint
from typing import Any

import numpy as np

from dtrain.base.errors import TraceError, expected
from dtrain.graph.effects import is_collective
from dtrain.graph.graph import Graph, Value
from dtrain.kernels.array_module import Array
from dtrain.kernels.device_arrays import copy_of, overwrite
from dtrain.kernels.quiet import quiet_context
from dtrain.runtime.binding import Binding, copy_into
from dtrain.runtime.buckets import BucketProvider, provide_buckets
from dtrain.runtime.dispatch import current_gpu
from dtrain.runtime.memory import allocate, array_for, devices_of
from dtrain.runtime.planned_graph import plan_graph
from dtrain.runtime.state import State
from dtrain.runtime.steps import Step, copy_step, nodes_to_come
from dtrain.runtime.storage import Block
from dtrain.runtime.under_way import UnderWay
from dtrain.runtime.unfinished_runs import tell_unfinished
from dtrain.runtime.written_memory import WrittenMemory, expect_separate_arguments, expect_separate_states


class StateTypeError(TraceError):
    """A state, or its array, is of another type than when its graph was captured. Raised before anything has run."""


class Executor:
    """A graph bound to memory.

    `states` hold the graph's states: tensors, or cells. The first `num_results` outputs are handed out as new arrays;
    further outputs stay in the executor's memory and are found in `kept` (valid until the next run). The caller writes
    results into the arguments at `written_arguments`. `provide` gives the memory of the plan's buckets.
    With `overlap`, collectives on buckets are under way until their results are read.
    """

    def __init__(
        self,
        graph: Graph,
        states: Sequence[State],
        *,
        num_results: int | None = None,
        written_arguments: Sequence[int] = (),
        provide: BucketProvider = provide_buckets,
        overlap: bool = False,
    ) -> None:
        self.graph = graph
        self._provide = provide
        self.states = list(states)
        self.num_results = len(graph.outputs) if num_results is None else num_results
        self._written_arguments = written_arguments
        self.planned = plan_graph(graph)
        self.plan = self.planned.plan
        self._arenas = {device: allocate(nbytes, device) for device, nbytes in self.plan.arenas.items()}
        self._talks = any(map(is_collective, graph.nodes))
        self._gpu = next((device for device in devices_of(graph) if device.is_cuda), None)
        self._blocks = self._place_blocks(self.plan.blocks)
        self._arguments = [array_for(value) for value in graph.arguments]
        self._is_bound = False
        self._bound_states: list[Array] = []
        self._written = WrittenMemory(())
        self._overlaps = overlap
        self._under_way = UnderWay(self.plan.storage)
        self.steps: list[Step] = []
        self._calls: list[Callable[[], Any]] = []  # of the steps

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
                tell_unfinished([None, *nodes_to_come(self.steps)])
                raise
        for buffer, argument in zip(self._arguments, arguments):
            if self._gpu is None:
                buffer[...] = argument  # memory of this executor's own, which no argument overlaps
            else:
                overwrite(buffer, argument)
        calls = iter(self._calls)
        try:
            for call in calls:
                call()
        except BaseException as error:
            reached = len(self._calls) - length_hint(calls) - 1
            tell_unfinished(nodes_to_come(self.steps[reached:]))
            self._under_way.end(error)
            node = self.steps[reached].node
            if node is not None and node.source and hasattr(error, "add_note"):
                where = f"{node.op.name} of {node.scope}" if node.scope else node.op.name
                error.add_note(f"in {where}, traced from {node.source}")
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

    @property
    def kernel_names(self) -> list[str]:
        """Which kernels the steps call, in order; "copy" for copies."""
        return [step.name for step in self.steps if step.kind != "wait"]

    def run_collectives(self) -> None:
        """Run only the collectives, on whatever their memory holds: for measuring what they cost alone."""
        for step in self.steps:
            if step.kind in ("collective", "start", "wait"):
                step.call()

    def _bind(self) -> None:
        self._is_bound = False
        self.steps = []
        self._home: list[tuple[Array, Array]] = []
        self._bind_states()
        arrays: dict[Value, Array] = dict(zip(self.graph.arguments, self._arguments))
        arrays.update(zip(self.graph.states, self._state_memory))
        binding = Binding(self.planned, self._arenas, arrays, self._blocks, overlap=self._overlaps)
        self.steps += binding.steps
        self._under_way = binding.under_way
        self._results = [arrays[value] for value in self.graph.outputs[: self.num_results]]
        self._bind_kept(arrays)
        self._bind_updates(arrays)
        self._calls = [step.call for step in self.steps]
        self._is_bound = True

    def _bind_states(self) -> None:
        """Kernels work in the arrays of the states themselves, or in a contiguous copy where one has gaps."""
        self._bound_states = [state.array for state in self.states]
        self._updated = [self.states[position] for position in self.graph.updates]
        for value, state, array in zip(self.graph.states, self.states, self._bound_states):
            if array is None:
                raise TraceError(expected("traced function", f"numbers in state {value.name}", "a tensor without any"))
            if array.shape != value.type.array_shape or array.dtype != value.type.array_dtype:
                given = f"an array of shape {array.shape} and dtype {array.dtype} put in its place"
                raise StateTypeError(expected("traced function", f"state {value.name} of type {value.type}", given))
            if state.type is not None and state.type is not value.type:  # an array of this shape, in another order
                given = f"{state.type} put in its place"
                raise StateTypeError(expected("traced function", f"state {value.name} of type {value.type}", given))
        self._written = expect_separate_states(self._named_states(), list(self.graph.updates))
        self._state_memory = list(self._bound_states)
        for position, array in enumerate(self._bound_states):
            if not array.flags.c_contiguous:
                memory = self._state_memory[position] = copy_of(array)
                self.steps.append(copy_step(partial(copy_into, array, out=memory), None))
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
                self.steps.append(copy_step(partial(copy_into, source, out=staged), None))
                source = staged
            self._home.append((self._bound_states[position], source))

    def _place_blocks(self, blocks: Sequence[Block]) -> dict[int, Array]:
        """The memory of each block, by its identity."""
        found = self._provide([block.request for block in blocks])
        return {
            id(block): allocate(block.nbytes, block.members[0].device) if memory is None else memory
            for block, memory in zip(blocks, found, strict=True)
        }
