"""The parts, at sizes of ResNet-18 and MobileNetV2 (images) and of a Transformer of width 256 (batch 16, 64 tokens)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from typing import Any

from dtrain import models, optim
from dtrain.bench.parts.function import Function
from dtrain.bench.parts.part import Part, Shape
from dtrain.bench.parts.update import Update


def parts() -> Iterator[Part]:
    """All, family by family."""
    yield from _of_images()
    yield from _of_tokens()
    yield from _updates()


def _elementwise(family: str, shape: Shape, forward: Callable[..., Any], **more: Any) -> Function:
    return Function(family, _text(shape), forward, (shape,), shape, leaves=1, is_image=len(shape) == 4, **more)


def _text(shape: Shape) -> str:
    return "×".join(map(str, shape[:2])) + f"×{shape[2]}²" if len(shape) == 4 else "×".join(map(str, shape))


_RESNET: tuple[Shape, ...] = ((8, 64, 56, 56), (16, 128, 28, 28), (16, 256, 14, 14))
_MOBILENET: tuple[Shape, ...] = ((8, 144, 56, 56), (16, 384, 14, 14))
_TOKENS: Shape = (16, 64, 256)
_LONG: Shape = (16, 256, 256)


def _of_images() -> Iterator[Part]:
    for x in (*_RESNET, _MOBILENET[1]):
        yield Function("batch_norm", _text(x), _batch_norm, (x, x[1:2], x[1:2]), x, 3, (x[1:2],) * 2, is_image=True)
    for x in (*_RESNET, (16, 64, 1024)):
        yield _elementwise("relu", x, lambda F, x: F.relu(x))
    for x in _MOBILENET:
        yield _elementwise("relu6", x, lambda F, x: F.relu6(x))
    for x in (*_RESNET, _TOKENS):
        image = len(x) == 4
        yield Function("add", _text(x), lambda F, x, y: x + y, (x, x), x, 0, is_image=image)
    for x in _RESNET:
        in_place = partial(Function, is_image=True, peer_forward=lambda F, x, y: F.relu(x + y, inplace=True))
        yield in_place("add_relu", _text(x), lambda F, x, y: F.relu(x + y), (x, x), x, 1)
    for x in ((8, 64, 112, 112), (16, 64, 32, 32)):
        y = (*x[:2], x[2] // 2, x[3] // 2)
        yield Function("max_pool", _text(x), lambda F, x: F.max_pool2d(x, 3, 2, 1), (x,), y, 1, is_image=True)
    for x in ((16, 512, 7, 7), (16, 1280, 7, 7), (16, 512, 2, 2)):
        pooled = (*x[:2], 1, 1)
        pool = partial(Function, backward_reads=False, is_image=True)
        yield pool("average_pool", _text(x), lambda F, x: F.adaptive_avg_pool2d(x, 1), (x,), pooled, 1)
    for x in (_RESNET[0], (128, 1000)):
        yield Function("mean", f"all of {_text(x)}", lambda F, x: x.mean(), (x,), (), 0)
    yield Function("mean", f"channels of {_text(_RESNET[1])}", lambda F, x: x.mean((0, 2, 3)), _RESNET[1:2], (128,), 0)
    yield Function("sum", f"rows of {_text(_TOKENS)}", lambda F, x: x.sum(-1), (_TOKENS,), (16, 64), 0)
    yield Function("sum", "columns of 1024×1024", lambda F, x: x.sum(0), ((1024, 1024),), (1024,), 0)


def _batch_norm(F: Any, x: Any, weight: Any, bias: Any, mean: Any, var: Any) -> Any:
    return F.batch_norm(x, mean, var, weight, bias, training=True)


def _of_tokens() -> Iterator[Part]:
    for n, classes in ((128, 1000), (1024, 256)):
        size, labels = f"{n}×{classes}", (n, classes)
        loss = partial(Function, labels=labels)
        yield loss("cross_entropy", size, lambda F, x, labels: F.cross_entropy(x, labels), ((n, classes),), (), 1)
    for x in (_TOKENS, _LONG):
        yield Function("layer_norm", _text(x), _layer_norm, (x, x[2:], x[2:]), x, 3)
    for heads, length in ((8, 64), (4, 64), (4, 256)):
        q = (16, heads, length, 256 // heads)
        flops = 2 * 2 * 16 * length * length * 256
        attention = partial(Function, forward_flops=flops)
        size = f"{heads} heads, {length} tokens"
        yield attention("attention", size, lambda F, *qkv: F.scaled_dot_product_attention(*qkv), (q, q, q), q, 3)
    for x in ((16, 64, 1024), (16, 256, 1024)):
        yield _elementwise("gelu", x, lambda F, x: F.gelu(x))
    for x in ((128, 64, 64), (64, 256, 256)):
        yield _elementwise("softmax", x, lambda F, x: F.softmax(x, -1))
    for n, inputs, outputs in (
        (1024, 256, 256),
        (1024, 256, 1024),
        (1024, 1024, 256),
        (64, 784, 256),
        (128, 512, 1000),
    ):
        shapes = ((n, inputs), (outputs, inputs), (outputs,))
        product = partial(Function, forward_flops=2 * n * inputs * outputs)
        size = f"{n}×{inputs}→{outputs}"
        yield product("linear", size, lambda F, x, w, b: F.linear(x, w, b), shapes, (n, outputs), 3)
    for a, b in (((128, 64, 32), (128, 32, 64)), ((64, 256, 256), (64, 256, 64)), ((512, 512), (512, 512))):
        y = (*a[:-1], b[-1])
        flops = 2 * a[-1] * prod(y)
        yield Function("matmul", f"{_text(a)}·{_text(b)}", lambda F, a, b: a @ b, (a, b), y, 2, forward_flops=flops)


def _layer_norm(F: Any, x: Any, weight: Any, bias: Any) -> Any:
    return F.layer_norm(x, x.shape[-1:], weight, bias)


def _updates() -> Iterator[Part]:
    for name, build in (("ResNet-18", models.resnet18), ("MobileNetV2", models.mobilenet_v2)):
        yield Update(
            "sgd",
            name,
            build,
            lambda parameters: optim.SGD(parameters, 1e-3, momentum=0.9, weight_decay=1e-4),
            lambda module, parameters: module.SGD(parameters, 1e-3, momentum=0.9, weight_decay=1e-4),
            arrays_read=3,
            arrays_written=2,
        )
        yield Update(
            "adamw",
            name,
            build,
            lambda parameters: optim.AdamW(parameters, 1e-3),
            lambda module, parameters: module.AdamW(parameters, 1e-3),
            arrays_read=4,
            arrays_written=3,
        )
