"""Autograd: backward and grad, accumulation, hooks, stand-ins, versions, memory."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain.base.errors import DtypeError, ShapeError
from dtrain.core.context import context


def leaf(*values: float, dtype: str = "f32") -> dt.Tensor:
    return dt.tensor(list(values), dtype=dtype, requires_grad=True)


# backward -------------------------------------------------------------------------------------------------------------


def test_backward_adds_up_over_paths() -> None:
    x = leaf(1, 2, 3)
    (x * x + x * 3).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [5, 7, 9]


def test_backward_accumulates_over_passes() -> None:
    x = leaf(1, 2)
    for _ in range(3):
        (x * 2).sum().backward()
    assert x.grad.tolist() == [6, 6]


def test_backward_takes_the_gradient_of_the_root() -> None:
    x = leaf(1, 2)
    (x * 3).backward(dt.tensor([10.0, 100.0]))
    assert x.grad.tolist() == [30, 300]


def test_a_root_may_be_a_leaf_and_its_gradient_is_not_the_seed() -> None:
    x, seed = leaf(4), dt.tensor([2.0])
    x.backward(seed)
    assert x.grad.tolist() == [2]
    x.grad.assign_(dt.tensor([9.0]))
    assert seed.tolist() == [2]


def test_the_root_needs_a_history() -> None:
    x = leaf(1)
    with dt.no_grad():
        y = x * 2
    for root in (y, dt.tensor([1.0])):
        with pytest.raises(RuntimeError, match="backward: expected a tensor that depends on one with requires_grad"):
            root.backward()


def test_a_root_of_several_elements_needs_a_gradient_of_its_type() -> None:
    y = leaf(1, 2) * 2
    with pytest.raises(ShapeError, match=r"backward: expected a scalar, or its gradient as argument, got f32\[2\]"):
        y.backward()
    with pytest.raises(ShapeError, match=r"a gradient of type f32\[2\]@cpu, got f32\[3\]@cpu"):
        y.backward(dt.zeros(3))
    with pytest.raises(DtypeError, match=r"a gradient of type f32\[2\]@cpu, got f64\[2\]@cpu"):
        y.backward(dt.zeros(2, dtype="f64"))


def test_history_is_freed_unless_retained() -> None:
    x = leaf(2)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [8]
    with pytest.raises(
        RuntimeError, match="the history of sum, which an earlier backward has freed; pass retain_graph"
    ):
        y.backward()


def test_a_shared_history_names_the_freed_op() -> None:
    x = leaf(2)
    shared = x * x
    (shared + 1).sum().backward()
    with pytest.raises(RuntimeError, match="the history of mul, which an earlier backward has freed"):
        (shared + 2).sum().backward()


def test_no_grad_records_nothing_and_nests() -> None:
    x = leaf(1)
    with dt.no_grad():
        assert not dt.is_grad_enabled()
        assert not (x * 2).requires_grad
        with dt.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_no_grad_as_decorator_and_after_an_error() -> None:
    @dt.no_grad()
    def double(x: dt.Tensor) -> dt.Tensor:
        return x * 2

    x = leaf(1)
    assert not double(x).requires_grad
    assert not double(x).requires_grad, "the decorator works every time"
    with pytest.raises(ShapeError), dt.no_grad():
        x.assign_(dt.zeros(5))
    assert dt.is_grad_enabled()


def test_no_grad_is_of_its_thread() -> None:
    seen = []
    with dt.no_grad():
        thread = threading.Thread(target=lambda: seen.append(dt.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_integers_carry_no_gradient() -> None:
    x = leaf(1.5, 2.5)
    assert not x.to("s32").requires_grad
    assert not (x > 2).requires_grad
    with pytest.raises(DtypeError, match=r"requires_grad_: expected a floating dtype, got s64\[1\]"):
        dt.tensor([1]).requires_grad_()


def test_requires_grad_is_set_on_leaves_only() -> None:
    x = leaf(1)
    with pytest.raises(RuntimeError, match="requires_grad_: expected a leaf"):
        (x * 2).requires_grad_(False)
    assert (x * 2).detach().requires_grad_().is_leaf and not (x * 2).requires_grad_().is_leaf


def test_unused_outputs_count_as_zeros() -> None:
    x = leaf(3, 1, 2)
    values, _ = F.topk(x, 2)
    first, _ = F.split(x * x, [1, 2])
    (first.sum() + values.sum()).backward()
    assert x.grad.tolist() == [7, 0, 1]


def test_leaves_own_their_gradients() -> None:
    """x + y hands one tensor to both, a reshape a view of it, a sum a broadcast one: none may be shared."""
    x, y, z = leaf(1, 2, 3, 4), leaf(5, 6, 7, 8), dt.ones((2, 2)).requires_grad_()
    (x + y + z.reshape(4)).sum().backward()
    for tensor in (x, y, z):
        before = [other.grad.numpy().copy() for other in (x, y, z)]
        tensor.grad.assign_(tensor.grad * 3)
        changed = [not (other.grad.numpy() == old).all() for other, old in zip((x, y, z), before)]
        assert changed == [other is tensor for other in (x, y, z)]


def test_grad_must_have_the_type_of_its_tensor() -> None:
    x = leaf(1, 2)
    with pytest.raises(ShapeError, match=r"grad: expected a gradient of type f32\[2\]@cpu, got f32\[3\]@cpu"):
        x.grad = dt.zeros(3)
    x.grad = None
    assert x.grad is None


# Hooks ----------------------------------------------------------------------------------------------------------------


def test_hooks_see_complete_gradients_and_may_replace_them() -> None:
    x = leaf(1, 2)
    inner = x * 2
    seen = []
    inner.register_grad_hook(lambda g: seen.append(("inner", g.tolist())))
    inner.register_grad_hook(lambda g: g * 10)
    x.register_grad_hook(lambda g: seen.append(("x", g.tolist())))
    x.register_grad_hook(lambda g: g + 1)
    (inner + inner * 3).sum().backward()
    assert seen == [("inner", [4, 4]), ("x", [80, 80])]
    assert x.grad.tolist() == [81, 81]


def test_hooks_can_be_removed() -> None:
    x = leaf(1)
    inner = x * 2
    for tensor in (x, inner):
        tensor.register_grad_hook(lambda g: g * 100)()
    inner.sum().backward()
    assert x.grad.tolist() == [2]


def test_hooks_need_gradients_to_come() -> None:
    with pytest.raises(RuntimeError, match="register_grad_hook: expected a tensor that requires gradients"):
        dt.tensor([1.0]).register_grad_hook(lambda g: None)


# Stand-ins ------------------------------------------------------------------------------------------------------------


class Scaled(dt.Function):
    """The input as it is, with a gradient of ten times as much."""

    def forward(self, x):
        return x

    def backward(self, grad):
        return grad * 10


def test_a_stand_in_takes_the_place_of_a_leaf_on_the_tape() -> None:
    """Also where a custom function reads the leaf; not where it is read outside."""
    x, y = leaf(1), leaf(1)
    context.stand_ins = {x: Scaled()(x)}
    try:
        inside = (x * y).sum() + Scaled()(x).sum()
    finally:
        context.stand_ins = {}
    (inside + (x * 7).sum()).backward()
    assert x.grad.tolist() == [10 * y.item() + 10 * 10 + 7]
    assert y.grad.tolist() == x.tolist()


def test_grad_runs_only_the_rules_that_lead_to_what_is_asked_for() -> None:
    ran = []

    class Noted(dt.Function):
        def forward(self, x):
            return x

        def backward(self, grad):
            ran.append(1)
            return grad

    x, w = leaf(1), leaf(1)
    y = x * Noted()(w)
    (dx,) = dt.grad((y * y).sum(), x, retain_graph=True)
    assert ran == [] and dx.tolist() == [2 * x.item() * w.item() ** 2]
    (dw,) = dt.grad((y * y).sum(), w)
    assert ran == [1] and dw.tolist() == [2 * w.item() * x.item() ** 2]


# Versions -------------------------------------------------------------------------------------------------------------


def test_overwritten_inputs_are_noticed() -> None:
    x, w = leaf(1), leaf(2)
    y = (x * w).sum()
    with dt.no_grad():
        w.assign_(w * 2)
        w.assign_(w * 2)
    with pytest.raises(RuntimeError, match=r"the inputs of mul unchanged since forward.*overwritten 2 time\(s\)"):
        y.backward()


def test_overwriting_is_noticed_through_views_and_twins() -> None:
    for share in (lambda t: t.reshape(1, 3)[0], lambda t: t.detach(), lambda t: t.T):
        x, state = dt.ones(3).requires_grad_(), dt.ones(3)
        y = (x * share(state)).sum()
        state.assign_(dt.zeros(3))
        with pytest.raises(RuntimeError, match=r"the inputs of mul unchanged since forward.*1 time\(s\)"):
            y.backward()
        y = (x * state).sum()
        share(state).assign_(dt.ones(3))
        with pytest.raises(RuntimeError, match="the inputs of mul unchanged since forward"):
            y.backward()


def test_overwritten_outputs_are_noticed_where_the_rule_reads_them() -> None:
    x = leaf(1)
    y = F.exp(x)
    z = y.sum()
    with dt.no_grad():
        y.assign_(dt.zeros(1))
    with pytest.raises(RuntimeError, match=r"unchanged since forward, got f32\[1\]@cpu overwritten 1 time"):
        z.backward()
    y = F.exp(x)
    with dt.no_grad():
        y.assign_(dt.zeros(1))
    with pytest.raises(RuntimeError, match="the outputs of exp unchanged since forward"):
        y.backward()


def test_a_traced_update_counts_as_overwriting() -> None:
    w = dt.Parameter(np.ones(2, np.float32))

    @dt.trace
    def halve() -> None:
        w.assign_(w.detach() * 0.5)

    halve()
    y = (w * w).sum()
    halve()
    with pytest.raises(RuntimeError, match="the inputs of mul unchanged"):
        y.backward()


# Gradient rules that are wrong ----------------------------------------------------------------------------------------


def test_a_rule_of_the_wrong_type_is_named() -> None:
    class Wrong(dt.Function):
        def forward(self, x):
            return x * 1

        def backward(self, grad):
            return grad.sum()

    with pytest.raises(ShapeError, match=r"gradient of Wrong: expected a gradient of type f32\[2\]@cpu, got f32\[\]"):
        Wrong()(leaf(1, 2)).sum().backward()


# Memory ---------------------------------------------------------------------------------------------------------------


def test_activations_die_at_once() -> None:
    """Without the cycle collector: forward, backward and the death of the loss leave nothing behind."""
    x = leaf(1, 2)
    gc.collect()
    gc.disable()
    try:
        hidden = F.exp(x * 2)
        hidden.register_grad_hook(lambda g: g * 1)
        loss = (F.tanh(hidden) * hidden).sum()
        watched = [weakref.ref(hidden), weakref.ref(hidden.node), weakref.ref(loss.node)]
        memory = weakref.ref(hidden.array)
        del hidden
        assert watched[0]() is not None, "the history keeps what backward reads"
        loss.backward()
        assert watched[0]() is None, "backward frees what it has used, while the loss still lives"
        assert memory() is None
        del loss
        assert [reference() for reference in watched] == [None] * 3
    finally:
        gc.enable()


def test_a_history_without_backward_dies_with_its_root() -> None:
    x = leaf(1, 2)
    gc.collect()
    gc.disable()
    try:
        loss = F.exp(x * 2).sum()
        node = weakref.ref(loss.node)
        del loss
        assert node() is None
    finally:
        gc.enable()


def test_a_deep_history_needs_no_recursion() -> None:
    x = leaf(1)
    y = x
    for _ in range(5000):
        y = y + 0
    y.sum().backward()
    assert x.grad.tolist() == [1]
