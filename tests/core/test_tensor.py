"""Tensor: facts, numbers out and in, sharing, in-place change, conversion."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import dtrain as dt
from dtrain.base.dtype import ALL, bfloat16
from dtrain.base.errors import DeviceError, DtypeError, ShapeError, TraceError
from dtrain.core.tensor import Parameter, wrap
from dtrain.kernels.device_arrays import owner_of


def test_facts() -> None:
    x = dt.zeros((2, 3, 5), dtype="bf16")
    assert (x.shape, x.ndim, x.size, len(x)) == ((2, 3, 5), 3, 30, 2)
    assert x.dtype is bfloat16
    assert str(x.device) == "cpu"
    assert x.is_leaf
    assert not x.is_symbolic
    assert str(x.type) == "bf16[2,3,5]@cpu"


def test_what_a_scalar_has_not() -> None:
    with pytest.raises(TypeError, match=r"len\(\): expected a tensor with at least one axis"):
        len(dt.zeros(()))
    with pytest.raises(TypeError):
        iter(dt.zeros(())).__next__()


def test_iteration() -> None:
    assert [row.tolist() for row in dt.tensor([[1, 2], [3, 4]])] == [[1, 2], [3, 4]]


def test_tensors_are_hashed_by_identity() -> None:
    x, y = dt.zeros(2), dt.zeros(2)
    assert {x: 1, y: 2}[y] == 2
    assert len({x, y, x}) == 2


# Numbers out ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_item_is_a_python_number(dtype) -> None:
    value = dt.ones((1, 1), dtype=dtype).item()
    assert value == 1
    assert type(value) is {"bool": bool, "float": float}.get(dtype.kind, int)


def test_item_needs_one_element() -> None:
    with pytest.raises(ShapeError, match=r"item\(\): expected a tensor of one element, got f32\[2\]"):
        dt.zeros(2).item()


def test_python_conversions() -> None:
    x = dt.tensor([2.75])
    assert (float(x), int(x), bool(x), bool(x * 0)) == (2.75, 2, True, False)
    assert "abc"[dt.tensor(1)] == "b"
    with pytest.raises(TypeError, match="index: expected an integer tensor of one element"):
        "abc"[x]
    with pytest.raises(ShapeError, match=r"a branch: expected a tensor of one element, got bool\[2\]@cpu; reduce it"):
        bool(dt.zeros(2) == 0)


def test_numpy_shares_and_array_copies_where_asked() -> None:
    x = dt.zeros(3)
    x.numpy()[0] = 7
    assert x.tolist() == [7, 0, 0]
    assert np.shares_memory(np.asarray(x), x.numpy())
    copied = np.array(x)
    copied[1] = 5
    assert x.tolist() == [7, 0, 0]
    assert np.asarray(x, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="dtype float32 where copy=False"):
        x.__array__(np.float64, copy=False)


def test_dlpack_both_ways_shares_memory() -> None:
    x = dt.tensor([1.0, 2.0, 3.0])
    assert np.shares_memory(np.from_dlpack(x), x.numpy())

    class Owner:
        """A DLPack owner that is no NumPy array."""

        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def __dlpack__(self, **options: object) -> object:
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return self.array.__dlpack_device__()

    array = np.arange(4, dtype=np.int32)
    shared = dt.as_tensor(Owner(array))
    array[0] = 9
    assert (shared.tolist(), shared.dtype.tag) == ([9, 1, 2, 3], "s32")


def test_repr() -> None:
    assert repr(dt.tensor([1.0, 2.0])) == "Tensor([1., 2.], f32[2]@cpu)"
    assert repr(dt.tensor([1.0], requires_grad=True)) == "Tensor([1.], f32[1]@cpu, requires_grad=True)"
    assert len(repr(dt.zeros(100_000))) < 200


# Numbers in -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (1, "s64[]"), (1.5, "f32[]"), (True, "bool[]"), ([1, 2], "s64[2]"), ([[1.5], [2]], "f32[2,1]"), ([], "f32[0]"),
        (np.float64(1), "f64[]"), (np.zeros((2, 0), np.uint8), "u8[2,0]"), (np.float16(2), "f16[]"),
        ((True, False), "bool[2]"),
    ],
)  # fmt: skip
def test_dtypes_of_data(data: object, wanted: str) -> None:
    assert str(dt.as_tensor(data).type) == wanted + "@cpu"


def test_as_tensor_shares_and_tensor_copies() -> None:
    array = np.zeros(2, np.float32)
    shared, copied = dt.as_tensor(array), dt.tensor(array)
    array[0] = 1
    assert (shared.tolist(), copied.tolist()) == ([1, 0], [0, 0])
    assert dt.as_tensor(shared) is shared
    assert dt.tensor(shared).array is not shared.array
    assert dt.as_tensor(array, "f64").dtype.tag == "f64"


@pytest.mark.parametrize("data", ["text", object(), None, 1j, np.zeros(2, ">f4"), np.zeros(2, np.uint16), [object()]])
def test_what_is_no_number_is_refused(data: object) -> None:
    with pytest.raises(DtypeError, match="dtype: expected one of bool, u8"):
        dt.as_tensor(data)


def test_uneven_lists_are_refused() -> None:
    with pytest.raises(
        ShapeError, match=r"tensor\(\): expected numbers or evenly nested lists of numbers, got \[\[1\]"
    ):
        dt.tensor([[1], [1, 2]])


# In place -------------------------------------------------------------------------------------------------------------


def test_assign_writes_into_the_same_memory() -> None:
    array = np.zeros((2, 2), np.float32)
    x = dt.as_tensor(array.T)
    assert x.assign_(dt.tensor([[1.0, 2.0], [3.0, 4.0]])) is x
    assert array.tolist() == [[1, 3], [2, 4]]
    assert x.version == 1


@pytest.mark.parametrize("new", [dt.zeros(3), dt.zeros((1, 2)), dt.zeros(2, dtype="f64")], ids=lambda t: str(t.type))
def test_assign_needs_the_same_type(new: dt.Tensor) -> None:
    with pytest.raises(ShapeError, match=r"assign_: expected a tensor of type f32\[2\]@cpu, got f"):
        dt.zeros(2).assign_(new)


def test_detach_shares_memory_but_no_history() -> None:
    x = dt.tensor([1.0], requires_grad=True)
    y = x * 2
    twin = y.detach()
    assert twin.array is y.array
    assert not twin.requires_grad
    assert twin.is_leaf


def test_defaults_are_not_shared_between_tensors() -> None:
    """They stand on the class; setting one must touch its own tensor only."""
    x, y = dt.tensor([1.0], requires_grad=True), dt.tensor([1.0])
    x.register_grad_hook(lambda g: None)
    (x * 2).sum().backward()
    x.assign_(x.detach())
    x.name = "x"
    assert (y.hooks, y.grad, y.version, y.name, y.requires_grad, y.node) == ((), None, 0, "", False, None)


# Conversion -----------------------------------------------------------------------------------------------------------


def test_to() -> None:
    x = dt.ones(2)
    assert x.to("f32") is x
    assert x.to("cpu") is x
    assert x.to(dt.float64).dtype.tag == "f64"
    assert x.to(np.int32).dtype.tag == "s32"
    with pytest.raises(DtypeError, match="'float31'"):
        x.to("float31")
    with pytest.raises(DeviceError, match="'gpu99'"):
        x.to("gpu99")


def test_parameters_are_leaves_that_require_gradients() -> None:
    array = np.ones(2, np.float32)
    parameter = Parameter(array, name="w")
    assert parameter.requires_grad
    assert parameter.is_leaf
    assert parameter.name == "w"
    assert parameter.array is array
    assert not Parameter(array, requires_grad=False).requires_grad


def test_owner_of() -> None:
    array = np.zeros((4, 4))
    assert owner_of(array) is array
    assert owner_of(array[1:].T) is array
    assert owner_of(np.frombuffer(b"12345678")).size == 1


def test_wrap_keeps_the_array() -> None:
    array = np.zeros(3)
    assert wrap(array).array is array


def test_a_tensor_of_one_element_formats_and_rounds_as_a_number():
    loss = dt.tensor(1.23456, requires_grad=True)
    assert f"{loss:.3f}" == "1.235" and f"{loss:>8.1e}" == " 1.2e+00" and "%.2f" % loss == "1.23"  # noqa: UP031
    assert round(loss, 2) == 1.23 and round(loss) == 1 and isinstance(round(loss), int)
    assert f"{dt.tensor([7]):03d}" == "007" and f"{dt.tensor([2.5]):.1f}" == "2.5"
    assert f"{loss}" == str(loss)
    with pytest.raises(ShapeError, match="a tensor of one element"):
        f"{dt.ones(2):.2f}"
    with pytest.raises(TraceError, match=r"formatted with '.2f'"):
        dt.trace(lambda x: f"{x:.2f}")(dt.ones(()))
    with pytest.raises(TraceError, match=r"round\(\)"):
        dt.trace(lambda x: round(x, 1))(dt.ones(()))


def test_copies_and_pickles_of_a_view_leave_the_rest_behind():
    whole = dt.ones((1000, 2))
    for copied in (copy.deepcopy(whole[0]), pickle.loads(pickle.dumps(whole[0]))):
        assert copied.tolist() == [1, 1] and copied.base is None and not np.shares_memory(copied.array, whole.array)
    assert len(pickle.dumps(whole[0])) < 1000
    parameter = pickle.loads(pickle.dumps(dt.Parameter([1.0], name="w")))
    assert (parameter.name, parameter.requires_grad, parameter.tolist()) == ("w", True, [1.0])


@pytest.mark.parametrize("dtype", [None, "s64", "s32"])
@pytest.mark.parametrize("data", [[2**63, 1], [[2**63, -1]], [-(2**63) - 1, 0], [2**64, 2**63]])
def test_integers_beyond_s64_are_no_floats(data, dtype):
    with pytest.raises((ValueError, TypeError, OverflowError)):
        dt.tensor(data, dtype=dtype)


def test_integers_beyond_s64_beside_floats_or_as_floats_are_floats():
    assert dt.tensor([2**63, 1.5]).tolist() == [2.0**63, 1.5]
    assert dt.tensor([2**63, 1], dtype="f64").tolist() == [2.0**63, 1]
    assert dt.tensor([1e300, 2.0], dtype="f64").tolist() == [1e300, 2]
    assert dt.tensor([2**63 - 1, -(2**63)]).tolist() == [2**63 - 1, -(2**63)]
