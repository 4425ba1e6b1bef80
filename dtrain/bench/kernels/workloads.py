"""What kernels are timed on: the large calls of every op that has several of them, and of kernels that are no op.

Shapes as they occur in training ResNet-18, an MLP, a small Transformer and their optimizers stand with the ops.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dtrain.ops  # noqa: F401  registers what is listed
from dtrain.base.layout import NCHW16C, PLAIN
from dtrain.graph.calls import large_calls_of
from dtrain.graph.op import all_ops
from dtrain.kernels.call import Call, large
from dtrain.kernels.registry import kernels_of

# N, C, H, W, output rows and columns, stride of 3x3 convolutions in a ResNet-18, of which columns are made.
_WINDOWS = ((16, 64, 16, 16, 16, 1), (16, 128, 8, 8, 8, 1), (16, 128, 8, 8, 4, 2), (16, 512, 2, 2, 2, 1))


def _columns() -> Iterator[Call]:
    for n, c, h, w, out, stride in _WINDOWS:
        x, columns = (n, c, h, w), (c, 3, 3, n, out, out)
        window: dict[str, Any] = {"stride": (stride, stride), "padding": (1, 1), "dilation": (1, 1)}
        label = f"{n}x{c}x{h}x{w}, 3x3/{stride}"
        yield replace(large(label, x, kernel_size=(3, 3), **window), op="im2col", outputs=(columns,))
        yield replace(large(label, columns, **window), op="col2im", outputs=(x,))


def _rank_order() -> Iterator[Call]:
    for ranks, size in ((2, 1 << 14), (8, 1 << 14), (2, 1 << 22)):
        call = large(f"{ranks} x {size}", *((size,),) * ranks, op="sum")
        yield replace(call, op="rank_order_reduce", outputs=((size,),))


def _layouts() -> Iterator[Call]:
    """Arrays as they lie: the input of one direction is laid out, which the shapes of a call do not say."""
    for x in ((16, 64, 32, 32), (16, 13, 32, 32), (16, 512, 7, 7)):
        blocked, label = NCHW16C.array_shape(x), "x".join(map(str, x))
        there = large(f"{label} to {NCHW16C}", x, source=PLAIN, layout=NCHW16C)
        back = large(f"{label} from {NCHW16C}", blocked, source=NCHW16C, layout=PLAIN)
        yield replace(there, op="relayout", outputs=(blocked,))
        yield replace(back, op="relayout", outputs=(x,))


def workloads() -> Iterator[Call]:
    """Every call to time."""
    for op in all_ops():
        if any(not kernel.is_reference for kind in ("cpu", "cuda") for kernel in kernels_of(op.name, device_kind=kind)):
            yield from large_calls_of(op)
    yield from _columns()
    yield from _rank_order()
    yield from _layouts()
