"""Memory for a graph, on the devices that its values lie on."""

from __future__ import annotations

import numpy as np

from dtrain.base.alignment import empty_bytes
from dtrain.base.device import CPU, Device
from dtrain.graph.graph import Graph, Value
from dtrain.kernels.array_module import Array
from dtrain.runtime.dispatch import current_gpu


def devices_of(graph: Graph) -> list[Device]:
    """The CPU and every other device that a value lies on, in order of appearance."""
    values = [*graph.inputs, *(value for node in graph.nodes for value in node.outputs)]
    return list(dict.fromkeys([CPU, *(value.type.device for value in values)]))


def allocate(nbytes: int, device: Device) -> Array:
    """So many bytes, which begin at a multiple of `ALIGNMENT`."""
    if device.is_cuda:
        import cupy

        with current_gpu(device):
            return cupy.empty(nbytes, np.uint8)
    return empty_bytes(nbytes)


def array_for(value: Value) -> Array:
    """An array for a value, in memory of its own."""
    raw = allocate(value.type.nbytes, value.type.device)
    return raw.view(value.type.array_dtype).reshape(value.type.array_shape)


def to_device(array: np.ndarray, device: Device) -> Array:
    """An array of the host as one on the device."""
    if not device.is_cuda:
        return array
    import cupy

    with current_gpu(device):
        return cupy.asarray(array)
