"""Function: hand-written gradients (release note B13), eagerly and traced."""

from __future__ import annotations

import copy
import gc
import weakref

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F


class Sigmoid(dt.Function):
    def __init__(self, note: str = "") -> None:
        self.note = [note]

    def forward(self, x):
        y = 1 / (1 + F.exp(-x))
        self.save_for_backward(y)
        return y

    def backward(self, grad):
        (y,) = self.saved_tensors
        return grad * y * (1 - y)


class SumAndProduct(dt.Function):
    """Two inputs, two outputs; notes what backward gets."""

    seen: tuple | None = None

    def forward(self, x, y):
        self.save_for_backward(x, y)
        return x + y, x * y

    def backward(self, sum_grad, product_grad):
        self.seen = (sum_grad, product_grad)
        x, y = self.saved_tensors
        gx = gy = None
        if sum_grad is not None:
            gx = gy = sum_grad
        if product_grad is not None:
            by_product = product_grad * y, product_grad * x
            gx, gy = by_product if gx is None else (gx + by_product[0], gy + by_product[1])
        return gx, gy


def values(seed: int = 0, shape: tuple[int, ...] = (5,)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def value_and_gradient(function, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = dt.tensor(array, requires_grad=True)
    y = function(x)
    y.backward(dt.tensor(values(9)))
    return y.numpy(), x.grad.numpy()


def test_it_agrees_with_the_op() -> None:
    got, wanted = value_and_gradient(lambda x: Sigmoid()(x), values()), value_and_gradient(F.sigmoid, values())
    np.testing.assert_allclose(got[0], wanted[0], atol=1e-6)
    np.testing.assert_allclose(got[1], wanted[1], atol=1e-6)


def test_it_can_be_traced_and_gives_the_same_bits() -> None:
    weight = dt.Parameter(values(1))

    def step(x):
        loss = (Sigmoid()(x * weight) * x).sum()
        loss.backward()
        return loss

    eager_loss = step(dt.tensor(values()))
    eager_grad, weight.grad = weight.grad, None
    traced_loss = dt.trace(step)(dt.tensor(values()))
    assert traced_loss.numpy().tobytes() == eager_loss.numpy().tobytes()
    assert weight.grad.numpy().tobytes() == eager_grad.numpy().tobytes()


@pytest.mark.parametrize("used", [(True, True), (True, False), (False, True)])
def test_unused_outputs_give_none(used: tuple[bool, bool]) -> None:
    x, y = (dt.tensor(values(seed), requires_grad=True) for seed in (0, 1))
    function = SumAndProduct()
    outputs = function(x, y)
    assert isinstance(outputs, tuple)
    sum(output.sum() for output, keep in zip(outputs, used) if keep).backward()
    assert function.seen is not None
    assert tuple(grad is not None for grad in function.seen) == used
    ones = np.ones(5, np.float32)
    np.testing.assert_allclose(x.grad.numpy(), used[0] * ones + used[1] * values(1), rtol=1e-6)
    np.testing.assert_allclose(y.grad.numpy(), used[0] * ones + used[1] * values(0), rtol=1e-6)


def test_none_stops_the_gradient() -> None:
    class First(dt.Function):
        def forward(self, x, y):
            return x * y

        def backward(self, grad):
            return grad, None

    x, y = (dt.tensor(values(seed), requires_grad=True) for seed in (0, 1))
    First()(x, y).sum().backward()
    assert x.grad.tolist() == [1] * 5
    assert y.grad is None


def test_the_number_of_gradients_is_checked() -> None:
    class TooFew(SumAndProduct):
        def backward(self, sum_grad, product_grad):
            return sum_grad

    x = dt.tensor(values(), requires_grad=True)
    outputs = TooFew()(x, x)
    with pytest.raises(ValueError, match=r"TooFew.backward: expected one gradient \(or None\) for each of 2 inputs"):
        outputs[0].sum().backward()


def test_an_instance_is_called_once_eagerly_and_traced() -> None:
    function, x = Sigmoid(), dt.tensor(values())
    function(x)
    with pytest.raises(AssertionError, match="Sigmoid should not be called multiple times"):
        function(x)

    @dt.trace
    def twice(x):
        inner = Sigmoid()
        return inner(inner(x))

    with pytest.raises(AssertionError, match="should not be called multiple times"):
        twice(x)
    assert not dt.is_tracing()


def test_a_copy_shares_saved_tensors_and_copies_the_rest() -> None:
    function = Sigmoid("note")
    y = function(dt.tensor(values(), requires_grad=True))
    other = copy.deepcopy(function)
    assert type(other) is Sigmoid
    assert other.saved_tensors[0].array is function.saved_tensors[0].array
    assert other.note == ["note"]
    assert other.note is not function.note
    assert y.requires_grad


def test_symbolic_tensors_do_not_hinder_a_copy() -> None:
    copies = []

    @dt.trace
    def step(x):
        function = Sigmoid()
        y = function(x)
        copies.append(copy.deepcopy(function))
        return y

    step(values())
    assert copies[0].saved_tensors[0].is_symbolic


def test_saving_again_replaces() -> None:
    class Twice(dt.Function):
        def forward(self, x):
            self.save_for_backward(x)
            self.save_for_backward(x, x * 2)
            return x * 3

        def backward(self, grad):
            x, double = self.saved_tensors
            return grad * double / x

    x = dt.tensor([1.0, 2.0], requires_grad=True)
    Twice()(x).sum().backward()
    assert x.grad.tolist() == [2, 2]


def test_nothing_is_recorded_without_need() -> None:
    assert not Sigmoid()(dt.tensor(values())).requires_grad
    with dt.no_grad():
        assert not Sigmoid()(dt.tensor(values(), requires_grad=True)).requires_grad


def test_an_output_may_be_an_input() -> None:
    class Scaled(dt.Function):
        def forward(self, x):
            return x

        def backward(self, grad):
            return grad * 7

    x = dt.tensor([1.0], requires_grad=True)
    y = Scaled()(x)
    assert y is not x
    y.sum().backward()
    assert x.grad.tolist() == [7]


def test_saved_outputs_have_second_derivatives() -> None:
    x = dt.tensor([0.3], dtype="f64", requires_grad=True)
    (first,) = dt.grad(Sigmoid()(x).sum(), x, create_graph=True)
    (second,) = dt.grad(first.sum(), x)
    s = 1 / (1 + np.exp(-0.3))
    assert second.item() == pytest.approx(s * (1 - s) * (1 - 2 * s), rel=1e-12)


def test_a_saved_output_is_no_cycle() -> None:
    gc.collect()
    gc.disable()
    try:
        x = dt.tensor(values(), requires_grad=True)
        y = Sigmoid()(x)
        watched = [weakref.ref(y), weakref.ref(y.node), weakref.ref(y.array)]
        del y
        assert [reference() for reference in watched] == [None] * 3
    finally:
        gc.enable()


def test_backward_frees_what_was_saved() -> None:
    x = dt.tensor(values(), requires_grad=True)
    function = Sigmoid()
    loss = function(x).sum()
    instance = weakref.ref(function)
    del function
    loss.backward()
    assert instance() is None


@pytest.mark.parametrize("method", ["forward", "backward"])
def test_what_is_not_written_is_named(method: str) -> None:
    with pytest.raises(NotImplementedError, match=f"Function does not define {method}"):
        getattr(dt.Function(), method)(dt.ones(1))


def test_inside_a_module() -> None:
    class Layer(dt.nn.Module):
        def forward(self, x):
            return Sigmoid()(x)

    x = dt.tensor(values(), requires_grad=True)
    Layer()(x).sum().backward()
    s = 1 / (1 + np.exp(-values().astype(np.float64)))
    np.testing.assert_allclose(x.grad.numpy(), s * (1 - s), atol=1e-6)
