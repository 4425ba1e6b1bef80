"""A view that shows all of a tensor as it is, is still a tensor of its own on the same memory, as in PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import nn

View = Callable[[dt.Tensor], dt.Tensor]

VIEWS: list[View] = [
    lambda x: x[...],
    lambda x: x[:],
    lambda x: x[0:],
    lambda x: x.reshape(x.shape),
    lambda x: x.view(-1),
    lambda x: x.ravel(),
    lambda x: x.squeeze(),
    lambda x: x.squeeze(0),
    lambda x: x.view_as(x),
    lambda x: x.reshape_as(x),
    lambda x: x.expand(-1),
    lambda x: x.expand_as(x),
    lambda x: F.broadcast_to(x, x.shape),
    lambda x: x.narrow(0, 0, 2),
    lambda x: x.split(5)[0],
    lambda x: x.chunk(1)[0],
    lambda x: x.t(),
    lambda x: F.swap_axes(x, 0, 0),
    lambda x: x.permute(0),
]
views = pytest.mark.parametrize("view", VIEWS)


@views
def test_it_shows_the_same_memory(view: View) -> None:
    x = dt.tensor([1.0, 2.0])
    y = view(x)
    assert y is not x and y.shape == x.shape
    y.mul_(2)
    assert x.tolist() == [2, 4]
    x.add_(1)
    assert y.tolist() == [3, 5]


@views
@pytest.mark.parametrize("traced", [False, True])
def test_hooks_on_it_see_its_own_gradient(view: View, traced: bool) -> None:
    x = dt.tensor([1.0, 2.0], requires_grad=True)

    def step(z: dt.Tensor) -> None:
        y = view(x)
        y.register_hook(lambda gradient: gradient * 10)
        (x * z + y * y).sum().backward()

    for _ in range(2):
        x.grad = None
        (dt.trace(step) if traced else step)(dt.tensor([3.0, 4.0]))
        assert x.grad.tolist() == [23, 44] and not x.hooks


@views
def test_whether_it_requires_gradients_is_its_own_affair(view: View) -> None:
    x = dt.tensor([1.0, 2.0])
    y = view(x).requires_grad_()
    assert not x.requires_grad
    (x * y).sum().backward()
    assert y.grad.tolist() == [1, 2] and x.grad is None
    x = dt.tensor([1.0, 2.0], requires_grad=True) * 1
    y = view(x)
    x.detach_()
    assert y.requires_grad and not x.requires_grad


def test_a_view_of_a_parameter_is_none() -> None:
    layer = nn.Linear(2, 2)
    layer.flat = layer.bias.view(-1)
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    with pytest.raises(RuntimeError, match="a view of a leaf"):
        layer.flat.zero_()


def test_a_number_is_shown_too() -> None:
    x = dt.tensor(3.0)
    for y in (x[...], x.reshape(()), x.squeeze(), x.t(), x.expand(()), x.permute()):
        assert y is not x
        y.add_(1)
    assert x.item() == 9
    assert np.asarray(x).shape == ()
