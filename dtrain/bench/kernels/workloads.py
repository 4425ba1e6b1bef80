"""What each op is timed on: shapes as they occur in training ResNet-18, an MLP and their optimizers.

Where arithmetic decides how long a call takes, it knows its FLOPs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any

from dtrain.base.dtype import float32, float64
from dtrain.base.layout import NCHW16C, PLAIN
from dtrain.kernels.call import Call, Typed
from dtrain.kernels.formula.cpp_text import kernels as compiled_formulas
from dtrain.kernels.formula.row import Row
from dtrain.kernels.formula.table import attributes_of, row_of

Shape = tuple[int, ...]

# N, C, H, W, O, groups, kernel, stride
_CONVOLUTIONS = (
    (16, 64, 16, 16, 64, 1, 3, 1),
    (16, 128, 8, 8, 128, 1, 3, 1),
    (16, 128, 8, 8, 256, 1, 3, 2),
    (16, 512, 2, 2, 512, 1, 3, 1),
    (16, 64, 16, 16, 128, 1, 1, 1),
    (16, 96, 32, 32, 96, 96, 3, 1),
    (16, 96, 32, 32, 96, 96, 3, 2),
)


def _convolutions() -> Iterator[Call]:
    for n, c, h, w, o, groups, kernel, stride in _CONVOLUTIONS:
        pad, out = kernel // 2, (-(-h // stride), -(-w // stride))
        x, weights, y = (n, c, h, w), (o, c // groups, kernel, kernel), (n, o, *out)
        window = {"stride": (stride, stride), "padding": (pad, pad), "dilation": (1, 1)}
        attrs = {**window, "groups": groups}
        label = f"{n}x{c}x{h}x{w} to {o}, {kernel}x{kernel}/{stride}" + (f", {groups} groups" if groups > 1 else "")
        flops = 2 * prod(y) * prod(weights[1:])
        backward = (("input_shape", x, "data", (y, weights)), ("weight_shape", weights, "weights", (y, x)))
        yield Call(op="conv2d", label=label, inputs=(x, weights), outputs=(y,), attrs=attrs, flops=flops)
        for name, shape, suffix, inputs in backward:
            op, with_shape = f"conv2d_backward_{suffix}", {name: shape, **attrs}
            yield Call(op=op, label=label, inputs=inputs, outputs=(shape,), attrs=with_shape, flops=flops)
        if groups == 1 and kernel > 1:
            columns = (c, kernel, kernel, n, *out)
            seen = {"kernel_size": (kernel, kernel), **window}
            yield Call(op="im2col", label=label, inputs=(x,), outputs=(columns,), attrs=seen)
            yield Call(op="col2im", label=label, inputs=(columns,), outputs=(x,), attrs=window)


def _pooling() -> Iterator[Call]:
    x, y, label = (16, 64, 32, 32), (16, 64, 16, 16), "16x64x32x32, 2x2/2"
    window = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}
    indices = Typed(y, "int32", 32 * 32)
    average, shaped = {**window, "count_include_pad": True}, {"input_shape": x}
    yield Call(op="max_pool2d", label=label, inputs=(x,), outputs=(y, indices), attrs=window)
    yield Call(op="max_pool2d_backward", label=label, inputs=(y, indices), outputs=(x,), attrs=shaped)
    yield Call(op="avg_pool2d", label=label, inputs=(x,), outputs=(y,), attrs=average)
    yield Call(op="avg_pool2d_backward", label=label, inputs=(y,), outputs=(x,), attrs={**shaped, **average})
    plane, whole = (16, 512, 7, 7), {**average, "kernel_size": (7, 7), "stride": (7, 7)}
    yield Call(op="avg_pool2d", label="16x512x7x7, 7x7/7", inputs=(plane,), outputs=((16, 512, 1, 1),), attrs=whole)
    for size in ((1, 1), (4, 4)):
        small, label = (16, 64, *size), f"16x64x32x32 to {size[0]}x{size[1]}"
        to = {"output_size": size}
        outputs = (small, Typed(small, "int32"))
        yield Call(op="adaptive_avg_pool2d", label=label, inputs=(x,), outputs=(small,), attrs=to)
        yield Call(op="adaptive_avg_pool2d_backward", label=label, inputs=(small,), outputs=(x,), attrs=shaped)
        yield Call(op="adaptive_max_pool2d", label=label, inputs=(x,), outputs=outputs, attrs=to)


def _batch_norm() -> Iterator[Call]:
    for x in ((16, 64, 16, 16), (16, 512, 2, 2), (256, 512)):
        channel, stats = (x[1],), (2 * x[1] + 1,)
        label = "x".join(map(str, x))
        yield Call(op="batch_norm_statistics", label=label, inputs=(x,), outputs=(stats,))
        yield Call(op="batch_norm_normalize", label=label, inputs=(x, *(channel,) * 4), outputs=(x,))
        sums = (channel, channel)
        yield Call(op="batch_norm_backward_sums", label=label, inputs=(x, x, channel, channel), outputs=sums)
        data = (x, x, channel, channel, channel, *sums, stats)
        yield Call(op="batch_norm_backward_data", label=label, inputs=data, outputs=(x,))
    yield from _per_channel(256)


def _per_channel(channels: int) -> Iterator[Call]:
    channel, stats, label = (channels,), (2 * channels + 1,), f"{channels}"
    three, eps, momentum = (channel,) * 3, {"eps": 1e-5}, {"momentum": 0.1}
    running = (channel, channel, stats)
    yield Call(op="batch_norm_merge", label=f"8 ranks x {label}", inputs=((8, *stats),), outputs=(stats,))
    yield Call(op="batch_norm_moments", label=label, inputs=(stats,), outputs=three, attrs=eps)
    yield Call(op="batch_norm_update_running", label=label, inputs=running, outputs=three[:2], attrs=momentum)


# How many arrays each reads.
_GELU: dict[str, int] = {"gelu": 1, "gelu_backward": 2}
_DOMAINS = {kernel.name: row_of(kernel).domain for kernel in compiled_formulas() if row_of(kernel).domain != Row.domain}


def _losses_and_activations() -> Iterator[Call]:
    for n, c in ((64, 10), (256, 1000)):
        label, attrs = f"{n}x{c}", {"label_smoothing": 0.1}
        targets = Typed((n,), "int64", c)
        outputs = ((n,), (n, c))
        yield Call(op="softmax_cross_entropy", label=label, inputs=((n, c), targets), outputs=outputs, attrs=attrs)
        yield Call(
            op="softmax_cross_entropy_backward",
            label=label,
            inputs=((n,), (n, c), targets),
            outputs=((n, c),),
            attrs=attrs,
        )
    for size in (64 * 256, 16 * 64 * 32 * 32):
        form: dict[str, Any] = {"label": f"{size}", "outputs": ((size,),)}
        for op, count in _GELU.items():
            yield Call(op=op, inputs=((size,),) * count, attrs={"approximate": "none"}, **form)
        for kernel in compiled_formulas():
            arrays, attrs = ((size,),) * len(kernel.inputs), next(attributes_of(kernel))
            yield Call(op=kernel.name, inputs=arrays, attrs=attrs, **form)


def _row_wise() -> Iterator[Call]:
    """Attention scores and hidden states of a small Transformer."""
    for rows, size in ((16 * 8 * 64, 64), (16 * 64, 512)):
        x, row, last = (rows, size), (rows,), {"axis": 1}
        label = f"{rows}x{size}"
        for op, num_inputs in (
            ("softmax", 1),
            ("softmax_backward", 2),
            ("log_softmax", 1),
            ("log_softmax_backward", 2),
        ):
            yield Call(op=op, label=label, inputs=(x,) * num_inputs, outputs=(x,), attrs=last)
        weight = (size,)
        outputs, gradients = (x, row, row), (x, weight, weight)
        yield Call(op="layer_norm", label=label, inputs=(x, weight, weight), outputs=outputs, attrs={"eps": 1e-5})
        yield Call(op="layer_norm_backward", label=label, inputs=(x, x, row, row, weight), outputs=gradients)


def _optimizers() -> Iterator[Call]:
    models: tuple[tuple[str, tuple[Shape, ...]], ...] = (
        ("MLP of 6", ((256, 784), (256,), (256, 256), (256,), (10, 256), (10,))),
        ("62 of 64x64x9", ((64, 64, 9),) * 62),
    )
    for label, shapes in models:
        count = {"num_tensors": len(shapes)}
        sgd = {**count, "momentum": 0.9, "dampening": 0.0, "weight_decay": 1e-4, "nesterov": False}
        adam = {**count, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01, "decoupled": True}
        lr, step = Typed((), "float32"), Typed((), "int64")
        sgd_inputs: tuple[Shape | Typed, ...] = (lr, *shapes * 3)
        adam_inputs: tuple[Shape | Typed, ...] = (lr, step, *shapes * 4)
        yield Call(op="sgd_update", label=label, inputs=sgd_inputs, outputs=shapes * 2, attrs=sgd)
        yield Call(op="adam_update", label=label, inputs=adam_inputs, outputs=(step, *shapes * 3), attrs=adam)


def _rank_order() -> Iterator[Call]:
    for ranks, size in ((2, 1 << 14), (8, 1 << 14), (2, 1 << 22)):
        inputs = ((size,),) * ranks
        label = f"{ranks} x {size}"
        yield Call(op="rank_order_reduce", label=label, inputs=inputs, outputs=((size,),), attrs={"op": "sum"})


def _random() -> Iterator[Call]:
    """The weights of a layer, and all of a small ResNet's."""
    state = Typed((2,), "int64")
    for size in (1 << 14, 1 << 22):
        for op, attrs in (
            ("uniform", {"low": -1.0, "high": 1.0}),
            ("normal", {"mean": 0.0, "std": 1.0}),
            ("dropout_mask", {"p": 0.5}),
        ):
            for dtype in (float32, float64):
                facts = {**attrs, "dtype": dtype}
                outputs = (Typed((size,), dtype.numpy.name), state)
                yield Call(op=op, label=f"{size} as {dtype.tag}", inputs=(state,), outputs=outputs, attrs=facts)


def _layouts() -> Iterator[Call]:
    for x in ((16, 64, 32, 32), (16, 13, 32, 32), (16, 512, 7, 7)):
        blocked, label = NCHW16C.array_shape(x), "x".join(map(str, x))
        there, back = {"source": PLAIN, "layout": NCHW16C}, {"source": NCHW16C, "layout": PLAIN}
        yield Call(op="relayout", label=f"{label} to {NCHW16C}", inputs=(x,), outputs=(blocked,), attrs=there)
        yield Call(op="relayout", label=f"{label} from {NCHW16C}", inputs=(blocked,), outputs=(x,), attrs=back)


_FAMILIES = (
    _convolutions,
    _pooling,
    _batch_norm,
    _losses_and_activations,
    _row_wise,
    _optimizers,
    _rank_order,
    _random,
    _layouts,
)


def workloads() -> Iterator[Call]:
    """Every call to time, by family, on values around one, so that no kernel takes a special path, or where a formula
    is defined."""
    for family in _FAMILIES:
        for call in family():
            low, high = _DOMAINS.get(call.op, (0.5, 1.5))
            yield replace(call, low=low, high=high)
