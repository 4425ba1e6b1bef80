"""The calls of a graph's nodes, bound to memory that is given: arguments, states, arenas, blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from dtrain.base.device import Device
from dtrain.graph.constant import CONSTANT
from dtrain.graph.effects import is_collective
from dtrain.graph.graph import Node, Value
from dtrain.kernels.array_module import Array
from dtrain.kernels.device_arrays import contiguous, overwrite
from dtrain.runtime.memory import to_device
from dtrain.runtime.planned_graph import PlannedGraph
from dtrain.runtime.regions import REGIONS, BoundBody
from dtrain.runtime.steps import Step, copy_step
from dtrain.runtime.storage import Storage
from dtrain.runtime.under_way import UnderWay


class Binding:
    """Steps for the nodes of a graph, in order, and the array of every value.

    `arrays` holds those of arguments and states, and gets all others; `blocks` the memory of the plan's blocks, by
    their identity. With `overlap`, collectives on buckets are under way until their results are read.
    """

    def __init__(
        self,
        planned: PlannedGraph,
        arenas: Mapping[Device, Array],
        arrays: dict[Value, Array],
        blocks: Mapping[int, Array] | None = None,
        *,
        overlap: bool = False,
    ) -> None:
        self.arrays = arrays
        self.steps: list[Step] = []
        self.under_way = UnderWay(planned.plan.storage)
        self._planned, self._plan = planned, planned.plan
        self._arenas, self._blocks, self._overlaps = arenas, blocks or {}, overlap
        for node in planned.graph.nodes:
            self.steps += self.under_way.waits_before(node)
            self._bind_node(node)
        self.steps += self.under_way.waits_at_end()

    def _bind_node(self, node: Node) -> None:
        arrays = self.arrays
        if node.op is CONSTANT:
            arrays[node.outputs[0]] = contiguous(to_device(node.attrs["value"], node.outputs[0].type.device))
            return
        inputs = [arrays[value] for value in node.inputs]
        if node.op.view is not None:
            self._bind_view(node, node.op.view.function, inputs[0])
            return
        outputs = [self._place(value) for value in node.outputs]
        arrays.update(zip(node.outputs, outputs))
        if node in self._planned.bodies:
            self._bind_region(node, inputs, outputs)
        else:
            self._bind_kernel(node, inputs, outputs)

    def _bind_view(self, node: Node, view: Callable[..., Array], source: Array) -> None:
        value = node.outputs[0]
        if self._plan.storage[value] is self._plan.storage[node.inputs[0]]:
            self.arrays[value] = view(source, **node.attrs)
            return
        self.arrays[value] = self._place(value)
        self.steps.append(copy_step(partial(_copy_view, view, node.attrs, source, self.arrays[value]), node))

    def _bind_kernel(self, node: Node, inputs: list[Array], outputs: list[Array]) -> None:
        kernel, _ = self._planned.kernels[node]
        if kernel.needs_contiguous:
            inputs = self._made_contiguous(node, inputs)
        out = outputs[0] if len(outputs) == 1 else tuple(outputs)
        if self._overlaps and self.under_way.takes(node):
            self.steps.append(self.under_way.start(node, inputs, out, kernel.name))
            return
        workspaces = self._plan.workspaces
        workspace = self._raw(workspaces[node]) if node in workspaces else None
        call = kernel.bind(inputs, out, node.attrs, workspace)
        self.steps.append(Step("collective" if is_collective(node) else "kernel", call, node, kernel.name))

    def _bind_region(self, node: Node, inputs: list[Array], outputs: list[Array]) -> None:
        bodies, rooms = self._planned.bodies[node], self._plan.rooms
        region = REGIONS.of(node.op.name)
        assert region is not None, node.op

        def bind_body(number: int, arguments: Sequence[Array]) -> BoundBody:
            body = bodies[number]
            arenas = {device: self._raw(rooms[node, device])[:nbytes] for device, nbytes in body.plan.arenas.items()}
            bound = Binding(body, arenas, dict(zip(body.graph.arguments, arguments, strict=True)))
            return BoundBody(bound.steps, [bound.arrays[value] for value in body.graph.outputs])

        call = region.bind(node, self._made_contiguous(node, inputs), outputs, bind_body)
        self.steps.append(Step("region", call, node, node.op.name))

    def _made_contiguous(self, node: Node, inputs: list[Array]) -> list[Array]:
        """The inputs of a node, those with gaps as copies that the plan has room for."""
        copies: dict[Value, Array] = {}
        for value, array in zip(node.inputs, inputs):
            if not array.flags.c_contiguous and value not in copies:
                copy = copies[value] = self._in_arena(value, self._plan.copies[node, value])
                self.steps.append(copy_step(partial(copy_into, array, out=copy), node))
        return [copies.get(value, array) for value, array in zip(node.inputs, inputs)]

    def _place(self, value: Value) -> Array:
        """The array of a value at its planned place."""
        storage = self._plan.storage[value]
        if storage.place == "state":
            return self.arrays[self._planned.graph.states[storage.position]].reshape(value.type.array_shape)
        return self._in_arena(value, storage)

    def _in_arena(self, value: Value, storage: Storage) -> Array:
        raw = self._raw(storage)[: value.type.nbytes]
        return raw.view(value.type.array_dtype).reshape(value.type.array_shape)

    def _raw(self, storage: Storage) -> Array:
        """The bytes of a storage in an arena or a block."""
        memory = self._arenas[storage.device] if storage.block is None else self._blocks[id(storage.block)]
        return memory[storage.offset : storage.offset + storage.nbytes]


def copy_into(source: Array, *, out: Array) -> None:
    """Copy elements, for a step."""
    overwrite(out, source)


def _copy_view(view: Callable[..., Array], attrs: dict[str, Any], source: Array, target: Array) -> None:
    overwrite(target, view(source, **attrs))
