"""Axes 0 and -1 of tensors without axes: what a vector of one element gives, without the axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import nn
from dtrain.base.errors import ShapeError
from dtrain.core.pair import ValuesAndIndices

PLACE = dt.tensor(0)

ALONG: dict[str, Callable[[Any, int], Any]] = {
    "topk": lambda x, axis: x.topk(1, axis),
    "F.topk, smallest": lambda x, axis: F.topk(x, 1, axis, False),
    "sort": lambda x, axis: x.sort(axis),
    "argsort": lambda x, axis: x.argsort(axis),
    "max": lambda x, axis: x.max(axis),
    "min": lambda x, axis: x.min(axis),
    "median": lambda x, axis: x.median(axis),
    "mode": lambda x, axis: x.mode(axis),
    "kthvalue": lambda x, axis: x.kthvalue(1, axis),
    "cummax": lambda x, axis: x.cummax(axis),
    "cumsum": lambda x, axis: x.cumsum(axis),
    "cumsum of another dtype": lambda x, axis: F.cumsum(x, axis, dtype="f64"),
    "cumprod": lambda x, axis: x.cumprod(axis),
    "softmax": lambda x, axis: x.softmax(axis),
    "log_softmax": lambda x, axis: F.log_softmax(x, axis, dtype="f64"),
    "softmin": lambda x, axis: F.softmin(x, axis),
    "nn.Softmax": lambda x, axis: nn.Softmax(axis)(x),
    "nn.LogSoftmax": lambda x, axis: nn.LogSoftmax(axis)(x),
    "argmax": lambda x, axis: x.argmax(axis),
    "argmin": lambda x, axis: F.argmin(x, axis, keepdims=False),
    "gather": lambda x, axis: x.gather(axis, PLACE.reshape(x.shape)),
    "scatter": lambda x, axis: F.scatter(x, axis, PLACE.reshape(x.shape), x * 3),
    "scatter of a number": lambda x, axis: F.scatter(x, axis, PLACE.reshape(x.shape), 3.0, reduce="multiply"),
    "scatter_add": lambda x, axis: x.scatter_add(axis, PLACE.reshape(x.shape), x * 3),
    **{
        f"scatter_reduce {way}": lambda x, axis, way=way: x.scatter_reduce(axis, PLACE.reshape(x.shape), x * 3, way)
        for way in ("sum", "prod", "mean", "amax", "amin")
    },
    "index_select": lambda x, axis: x.index_select(axis, PLACE.reshape(1)),
    "index_add": lambda x, axis: x.index_add(axis, PLACE.reshape(1), x * 3, alpha=2),
    "sum": lambda x, axis: x.sum(axis),
    "logsumexp": lambda x, axis: x.logsumexp(axis),
    "transpose": lambda x, axis: x.transpose(axis, axis),
    "swapaxes": lambda x, axis: x.swapaxes(axis, 0),
    "movedim": lambda x, axis: x.movedim(0, axis),
    "flip": lambda x, axis: x.flip(axis),
    "squeeze": lambda x, axis: x.squeeze(axis),
}


def leaves(result: Any) -> list[dt.Tensor]:
    return list(result) if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("name", ALONG)
def test_the_one_element_counts_as_a_vector(name: str, axis: int) -> None:
    x, vector = dt.tensor(-1.5, requires_grad=True), dt.tensor([-1.5], requires_grad=True)
    got, wanted = ALONG[name](x, axis), ALONG[name](vector, axis)
    assert isinstance(got, ValuesAndIndices) == isinstance(wanted, ValuesAndIndices)
    traced = dt.trace(lambda value: tuple(leaves(ALONG[name](value, axis))))(x.detach())
    for a, b, c in zip(leaves(got), leaves(wanted), traced, strict=True):
        assert a.shape == () == c.shape and a.dtype is b.dtype
        assert a.detach().numpy() == b.detach().numpy().reshape(()) == c.numpy()
    if leaves(got)[0].requires_grad:
        leaves(got)[0].backward()
        leaves(wanted)[0].sum().backward()
        assert x.grad.item() == vector.grad.item()


@pytest.mark.parametrize("axis", [1, -2])
@pytest.mark.parametrize("name", [name for name in ALONG if name not in ("squeeze", "flip")])
def test_there_is_no_other_axis(name: str, axis: int) -> None:
    with pytest.raises(ShapeError, match=r"an axis in \[-1, 1\), got"):
        ALONG[name](dt.tensor(2.0), axis)


def test_an_index_without_axes_picks_from_vectors_as_well() -> None:
    x = dt.tensor([1.0, 2.0, 3.0])
    assert x.gather(0, dt.tensor(1)).tolist() == 2
    assert x.index_select(0, dt.tensor(2)).tolist() == [3]
    assert F.scatter(x, 0, dt.tensor(1), dt.tensor(5.0)).tolist() == [1, 5, 3]
    assert dt.tensor(7.0).gather(0, dt.tensor([0, 0])).tolist() == [7, 7]
    assert F.scatter(dt.tensor(7.0), 0, dt.tensor([0]), dt.tensor([4.0])).tolist() == 4
    with pytest.raises(ShapeError, match="index_select: expected one place"):
        dt.tensor(7.0).index_select(0, dt.tensor([0, 0]))
    with pytest.raises(ShapeError, match="topk: expected k of at most 1"):
        dt.tensor(7.0).topk(2)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.unbind(0), lambda x: x.select(0, 0), lambda x: x.narrow(0, 0, 1), lambda x: x.split(1),
        lambda x: x.chunk(1), lambda x: F.concat([x]), lambda x: x[0], lambda x: F.glu(x), lambda x: x.roll(1, 0),
        lambda x: x.size(0), lambda x: F.top_k(x, 1), lambda x: x.unflatten(0, (1, 1)),
    ],
)  # fmt: skip
def test_what_takes_an_axis_apart_needs_one(call: Callable[[dt.Tensor], Any]) -> None:
    with pytest.raises((ShapeError, IndexError)):
        call(dt.tensor(2.0))


def test_writes_into_views_of_the_one_element_stay() -> None:
    y = dt.tensor(2.0)
    y.transpose(0, -1).mul_(3)
    y.movedim(0, 0).add_(1)
    assert y.item() == 7 and np.ndim(y.numpy()) == 0
