"""apply: dispatch by types, promotion, Python numbers, updates in place, errors."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain.base.dtype import ALL, float32, promote
from dtrain.base.errors import DeviceError, DtypeError, ShapeError
from dtrain.base.tensor_type import tensor_type
from dtrain.core.apply import apply, apply_tuple, update
from dtrain.core.tensor import Tensor, wrap
from dtrain.graph.op import Op, get_op
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.registry import kernels_of, register_kernel
from dtrain.runtime.dispatch import dispatch

ADD = get_op("add")
F32 = tensor_type((2,), float32)


@pytest.mark.parametrize("first", ALL[1:], ids=str)
@pytest.mark.parametrize("second", ALL[1:], ids=str)
def test_inputs_are_promoted(first, second) -> None:
    got = dt.ones(2, dtype=first) + dt.ones(2, dtype=second)
    assert got.dtype is promote(first, second)
    assert got.to("f64").tolist() == [2, 2]


@pytest.mark.parametrize("dtype", ALL[1:], ids=str)
@pytest.mark.parametrize("number", [3, True], ids=str)
def test_python_numbers_take_the_dtype_beside_them(dtype, number) -> None:
    x = dt.ones(2, dtype=dtype)
    assert (x + number).dtype is dtype
    assert (number + x).dtype is dtype
    assert (x * 0.5).dtype.is_floating


def test_arrays_beside_tensors_are_tensors() -> None:
    got = dt.ones(2) + np.array([1, 2], np.float64)
    assert (got.dtype.tag, got.tolist()) == ("f64", [2, 3])
    assert (np.array([1.0, 2.0], np.float32) + dt.ones(2)).tolist() == [2, 3]


def test_a_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(OverflowError):
        dt.ones(2, dtype="u8") + 300


def test_decisions_are_cached_by_types_and_attributes() -> None:
    first = dispatch(ADD, (F32, F32), {})
    assert dispatch(ADD, (F32, F32), {}) is first
    assert dispatch(ADD, (tensor_type((3,), float32),) * 2, {}) is not first
    cast = get_op("cast")
    assert dispatch(cast, (F32,), {"dtype": float32}) is dispatch(cast, (F32,), {"dtype": float32})


@pytest.mark.parametrize("order", [(0.0, -0.0), (-0.0, 0.0), (1, True), (True, 1)], ids=str)
def test_a_cached_decision_does_not_bring_its_attributes(order: tuple[float, float]) -> None:
    """0.0 == -0.0 and 1 == True have one cache entry; the values of the call must count all the same."""
    for value in order:
        assert np.signbit(dt.full(1, value, dtype="f32").numpy()[0]) == np.signbit(np.float32(value))
    assert [dt.full(1, value).dtype.kind for value in (1, True)] == ["signed", "bool"]


def test_errors_name_the_op_and_the_types() -> None:
    with pytest.raises(ShapeError, match=r"add: expected shapes that broadcast, got \(2,\) and \(3,\)"):
        dt.ones(2) + dt.ones(3)
    with pytest.raises(DtypeError, match="bitwise_not"):
        ~dt.ones(2)


def test_inputs_must_be_on_one_device() -> None:
    elsewhere = Tensor(np.ones(2, np.float32), F32.with_(device=dt.as_device("cpu2:1")))
    with pytest.raises(
        DeviceError, match=r"add: expected inputs on one device, got f32\[2\]@cpu, f32\[2\]@cpu2:1; move"
    ):
        dt.ones(2) + elsewhere


def test_apply_tuple_gives_all_outputs() -> None:
    values, indices = apply_tuple(get_op("topk"), dt.tensor([1.0, 3.0, 2.0]), k=2, axis=0, largest=True, sorted=True)
    assert (values.tolist(), indices.tolist()) == ([3, 2], [1, 2])


def test_dynamic_ops_are_typed_by_what_comes_out() -> None:
    got = F.nonzero(dt.tensor([0.0, 2.0, 0.0, 3.0]))
    assert (str(got.type), got.tolist()) == ("s64[2,1]@cpu", [[1], [3]])


def test_views_share_memory() -> None:
    x = dt.ones((2, 3))
    assert np.may_share_memory(x.transpose(1, 0).numpy(), x.numpy())
    assert np.may_share_memory(x.reshape(6).numpy(), x.numpy())


# update ---------------------------------------------------------------------------------------------------------------

HALVE = Op(name="test_halve", infer=lambda x, y: (x, y), aliases={0: 0})


def _halve(x, y, *, out) -> None:
    first, second = out
    assert first.flags.c_contiguous
    assert x.flags.c_contiguous
    np.multiply(x, y, out=second)
    np.multiply(x, 0.5, out=first)


if not kernels_of("test_halve"):
    register_kernel(
        Candidate(op="test_halve", name="test_halve_reference", isa="reference", function=_halve, needs_contiguous=True)
    )


def test_update_overwrites_what_it_aliases() -> None:
    memory = np.array([2, 4], np.float32)
    x, y = wrap(memory), dt.tensor([10.0, 100.0])
    target, product = update(HALVE, x, y)
    assert target is x
    assert memory.tolist() == [1, 2]
    assert product.tolist() == [20, 400]
    assert (x.version, y.version) == (1, 0)


@pytest.mark.parametrize("make", [lambda a: a.T, lambda a: a[:, ::2], lambda a: a[::-1]], ids=["T", "step", "reversed"])
def test_update_of_a_tensor_with_gaps(make) -> None:
    """A kernel that needs contiguous memory gets it, and the elements still land where the tensor lies."""
    base = np.arange(16, dtype=np.float32).reshape(4, 4)
    wanted = base.copy()
    make(wanted)[...] *= 0.5
    x = wrap(make(base))
    _, product = update(HALVE, x, wrap(np.full(x.shape, 2, np.float32)))
    assert base.tolist() == wanted.tolist()
    assert product.tolist() == (make(wanted) * 4).tolist()


def test_update_records_no_history() -> None:
    x = dt.tensor([2.0], requires_grad=True)
    _, product = update(HALVE, x, dt.tensor([3.0]))
    assert not product.requires_grad
    assert x.is_leaf


def test_gradients_are_recorded_only_for_floats_that_need_them() -> None:
    x = dt.tensor([1.0, 2.0], requires_grad=True)
    values, indices = apply_tuple(get_op("topk"), x, k=1, axis=0, largest=True, sorted=True)
    assert values.requires_grad
    assert not indices.requires_grad
    assert not apply(ADD, x.detach(), 1).requires_grad
