"""`grad`: gradients as new tensors, seeds, inputs that do not matter, higher derivatives."""

from __future__ import annotations

import pytest

import dtrain as dt
import dtrain.functional as F


def leaf(*values: float, dtype: str = "f32") -> dt.Tensor:
    return dt.tensor(list(values), dtype=dtype, requires_grad=True)


# grad -----------------------------------------------------------------------------------------------------------------


def test_grad_leaves_grad_alone() -> None:
    x, w = leaf(2), leaf(3)
    (got,) = dt.grad((x * x * w).sum(), x)
    assert got.tolist() == [12]
    assert x.grad is None
    assert w.grad is None


def test_grad_of_several_and_of_inner_tensors() -> None:
    x, w = leaf(2, 3), leaf(5, 7)
    inner = x * w
    gx, gw, gi = dt.grad([inner.sum(), (inner * inner).sum()], [x, w, inner])
    assert gi.tolist() == [21, 43]
    assert gx.tolist() == [21 * 5, 43 * 7]
    assert gw.tolist() == [21 * 2, 43 * 3]


def test_grad_of_a_root_is_its_seed() -> None:
    x = leaf(2)
    y = (x * x).sum()
    assert dt.grad(y, y)[0].tolist() == 1


def test_grad_outputs_weigh_the_roots() -> None:
    x = leaf(1, 2)
    (got,) = dt.grad([x * 2, x * 3], x, [dt.tensor([1.0, 0.0]), dt.tensor([0.0, 10.0])])
    assert got.tolist() == [2, 30]
    for lone in (dt.tensor([1.0, 5.0]), [dt.tensor([1.0, 5.0])]):  # as a lone output is given: without a list
        assert dt.grad(x * 2, x, lone)[0].tolist() == [2, 10]
    assert dt.grad([x * 2, x.sum()], x, [dt.tensor([1.0, 0.0]), None])[0].tolist() == [3, 1]
    with pytest.raises(ValueError, match="one of grad_outputs for each of 2 outputs, got 1"):
        dt.grad([x * 2, x * 3], x, [dt.ones(2)])


def test_grad_takes_pytorchs_arguments() -> None:
    x = leaf(2)
    for options in ({"only_inputs": True, "retain_graph": None, "create_graph": True}, {"is_grads_batched": False}):
        assert dt.grad(outputs=(x * x).sum(), inputs=x, grad_outputs=None, **options)[0].tolist() == [4]
    (first,) = dt.autograd.grad((x * x * x).sum(), [x], None, True, True)  # by position
    assert dt.grad(first.sum(), x)[0].tolist() == [12]
    with pytest.raises(ValueError, match="only_inputs of True"):
        dt.grad((x * x).sum(), x, only_inputs=False)


def test_grad_names_inputs_that_do_not_matter() -> None:
    x, unused = leaf(1), leaf(1)
    with pytest.raises(RuntimeError, match=r"grad: expected outputs that depend on input 1, got f32\[1\]@cpu; pass"):
        dt.grad((x * 2).sum(), [x, unused])
    got, missing = dt.grad((x * 2).sum(), [x, unused], allow_unused=True)
    assert got.tolist() == [2]
    assert missing is None
    with pytest.raises(RuntimeError, match="grad: expected input 0 to require gradients"):
        dt.grad((x * 2).sum(), dt.tensor([1.0]))


def test_grad_removes_its_hooks_after_an_error() -> None:
    x = leaf(1)
    y = (x * 2).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="freed"):
        dt.grad(y, x)
    assert x.hooks == ()


def test_second_and_third_derivatives() -> None:
    x = leaf(2, dtype="f64")
    y = (x * x * x * x).sum()
    (first,) = dt.grad(y, x, create_graph=True)
    (second,) = dt.grad(first.sum(), x, create_graph=True)
    (third,) = dt.grad(second.sum(), x)
    assert [first.tolist(), second.tolist(), third.tolist()] == [[32], [48], [48]]
    assert not third.requires_grad


@pytest.mark.parametrize("function", [F.exp, F.tanh, F.sigmoid, F.sqrt], ids=lambda f: f.__name__)
def test_second_derivatives_through_saved_outputs(function) -> None:
    point, step = 0.7, 1e-4

    def slope(at: float) -> dt.Tensor:
        x = leaf(at, dtype="f64")
        (first,) = dt.grad(function(x).sum(), x, create_graph=True)
        return dt.grad(first.sum(), x)[0], first

    got = slope(point)[0].item()
    numeric = (slope(point + step)[1].item() - slope(point - step)[1].item()) / (2 * step)
    assert got == pytest.approx(numeric, rel=1e-6)


def test_a_gradient_penalty_reaches_the_parameters() -> None:
    w, x = leaf(3, dtype="f64"), leaf(2, dtype="f64")
    (gx,) = dt.grad((w * x * x).sum(), x, create_graph=True)
    (gx * gx).sum().backward()  # (2wx)^2 = 4w²x²
    assert w.grad.tolist() == [8 * 3 * 4]
    assert x.grad.tolist() == [8 * 9 * 2]
