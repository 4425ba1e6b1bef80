"""What functions with hand-written gradients save, and inputs that are no tensors."""

from __future__ import annotations

import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain.base.errors import TraceError


class Exp(dt.Function):
    def forward(self, x):
        y = F.exp(x)
        self.save_for_backward(y)
        return y

    def backward(self, grad):
        (y,) = self.saved_tensors
        return grad * y


class Scaled(dt.Function):
    """x · (x · factor), with what lies between kept where the user reaches it."""

    between = None

    def forward(self, x, factor):
        self.between = x * factor
        self.save_for_backward(x, self.between)
        return x * self.between

    def backward(self, grad):
        _, between = self.saved_tensors
        return grad * 2 * between, None


def leaf() -> dt.Tensor:
    return dt.tensor([1.0, 2.0], requires_grad=True)


@pytest.mark.parametrize(
    "write", [lambda y: y.mul_(3), lambda y: y.detach().zero_(), lambda y: y[:1].add_(1), lambda y: y.copy_(y * 2)]
)
def test_a_saved_output_that_was_overwritten_is_refused(write) -> None:
    y = Exp()(leaf())
    write(y)
    with pytest.raises(RuntimeError, match=r"expected what Exp saved unchanged since forward, got f32\[2\]@cpu"):
        y.sum().backward()

    def step(x):
        y = Exp()(x * 1)
        write(y)
        y.sum().backward()

    with pytest.raises((RuntimeError, TraceError)):
        dt.trace(step)(leaf())


def test_so_is_what_lies_between() -> None:
    function = Scaled()
    y = function(leaf(), 3.0)
    function.between.zero_()
    with pytest.raises(RuntimeError, match="expected what Scaled saved unchanged"):
        y.sum().backward()


def test_writes_inside_of_forward_are_its_own_affair() -> None:
    class Doubled(dt.Function):
        def forward(self, x):
            y = x * 1
            self.save_for_backward(y)
            y.mul_(2)
            return y * y

        def backward(self, grad):
            (y,) = self.saved_tensors
            return grad * 4 * y

    x = leaf()
    Doubled()(x).sum().backward()
    assert x.grad.tolist() == [8, 16]


def test_a_copy_may_be_written_into() -> None:
    x = leaf()
    y = Exp()(x)
    y.copy().mul_(3)
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    assert x.grad.tolist() == pytest.approx((2 * F.exp(x)).tolist())


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("factor", [3.0, 3])
def test_inputs_that_are_no_tensors(factor, traced: bool) -> None:
    x = leaf()

    def step(z):
        Scaled()(x, factor).sum().backward()

    (dt.trace(step) if traced else step)(dt.zeros(1))
    assert x.grad.tolist() == [6, 12]


def test_each_input_has_a_gradient_or_none() -> None:
    class One(Scaled):
        def backward(self, grad):
            return grad

    with pytest.raises(ValueError, match=r"One.backward: expected one gradient \(or None\) for each of 2 inputs"):
        One()(leaf(), 2).sum().backward()
