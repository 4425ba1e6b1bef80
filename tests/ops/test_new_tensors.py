"""Tensors of a tensor's kind, how tensors lie, and elements written in place by place."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F

X = dt.tensor([[1.0, 2.0]], dtype="f64")


def test_new_tensors_have_the_dtype_of_the_old_one() -> None:
    for found, wanted in (
        (X.new_zeros(2, 1), [[0.0], [0.0]]),
        (X.new_zeros((2, 1)), [[0.0], [0.0]]),
        (X.new_ones(size=(2,)), [1.0, 1.0]),
        (X.new_empty(0), []),
        (X.new_empty([]), 0.0),
        (X.new_full((2,), 7), [7.0, 7.0]),
        (X.new_full(size=(2,), fill_value=7.5), [7.5, 7.5]),
        (X.new_tensor([1, 2]), [1.0, 2.0]),
        (X.new_tensor(data=np.array([3], np.int32)), [3.0]),
    ):
        assert found.dtype is dt.float64 and found.tolist() == wanted and not found.requires_grad
    assert X.new_zeros(2, dtype=dt.int64, requires_grad=False).dtype is dt.int64
    assert X.new_tensor([1.0], requires_grad=True).requires_grad and X.new_ones(1, device="cpu").device is X.device
    copied = X.new_tensor(X)
    copied.zero_()
    assert X.tolist() == [[1.0, 2.0]]
    with pytest.raises(ValueError, match="new_zeros: expected sizes of at least 0"):
        X.new_zeros(-1)


def test_in_a_trace() -> None:
    traced = dt.trace(lambda x: (x.new_zeros(2) + x.new_full((2,), 3) + x.new_tensor([1, 2]), x.t().is_contiguous()))
    assert traced(X)[0].tolist() == [4.0, 5.0]


def test_how_a_tensor_lies() -> None:
    x = dt.zeros(2, 3, 4, 5)
    assert x.is_contiguous() and x[:1].is_contiguous() and not x.transpose(0, 1).is_contiguous()
    assert not x[:, ::2].is_contiguous() and x.transpose(0, 1).contiguous().is_contiguous()
    assert not x.is_contiguous(memory_format=dt.channels_last)
    assert dt.zeros(2, 4, 5, 3).permute(0, 3, 1, 2).is_contiguous(memory_format=dt.channels_last)
    assert not dt.zeros(2, 3).is_contiguous(memory_format=dt.channels_last)


def test_places_of_a_condition() -> None:
    rows, columns = dt.where(dt.tensor([[0, 2], [3, 0]]))
    assert rows.tolist() == [0, 1] and columns.tolist() == [1, 0]
    (places,) = F.where(dt.tensor([True, False, True]))
    assert places.tolist() == [0, 2]
    with pytest.raises(TypeError, match="x and y, or neither"):
        F.where(dt.tensor([True]), 1.0)  # type: ignore[call-overload]


def test_elements_written_in_place() -> None:
    x = dt.zeros(3, 4)
    assert x.fill_diagonal_(2.0).tolist() == [[2.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 2.0, 0]]
    assert dt.zeros(3, 2, dtype="s64").index_fill_(0, dt.tensor([0, 2]), 5).tolist() == [[5, 5], [0, 0], [5, 5]]
    assert dt.zeros(2, 3).index_fill_(dim=-1, index=dt.tensor([1]), value=dt.tensor(4.0)).tolist() == [[0, 4.0, 0]] * 2
    with pytest.raises(ValueError, match="a matrix"):
        dt.zeros(3).fill_diagonal_(1.0)


def test_matrices_of_places() -> None:
    for offset in (-2, 0, 1):
        for rows, columns in ((3, 4), (4, 2), (0, 3)):
            wanted = np.stack(np.tril_indices(rows, offset, columns))
            assert dt.tril_indices(row=rows, col=columns, offset=offset).tolist() == wanted.tolist()
            wanted = np.stack(np.triu_indices(rows, offset, columns))
            assert dt.triu_indices(rows, columns, offset, dtype="s32").tolist() == wanted.tolist()


def test_blocks_along_the_diagonal() -> None:
    blocks = dt.ones(2, 1, requires_grad=True), dt.tensor([2.0, 3.0]), dt.tensor(4.0)
    found = dt.block_diag(*blocks)
    assert found.tolist() == [[1.0, 0, 0, 0], [1.0, 0, 0, 0], [0, 2.0, 3.0, 0], [0, 0, 0, 4.0]]
    (found * found).sum().backward()
    assert blocks[0].grad is not None and blocks[0].grad.tolist() == [[2.0], [2.0]]
    with pytest.raises(ValueError, match="at most 2 axes"):
        dt.block_diag(dt.zeros(1, 1, 1))


@pytest.mark.parametrize("cut", [1, 3, 4, 7, [2, 5], [0, 0], [3, 1], [-2], [9], []])
def test_tensor_split_is_numpys(cut: int | list[int]) -> None:
    x = np.arange(12).reshape(6, 2)
    parts = dt.tensor_split(dt.tensor(x), cut)
    assert [part.tolist() for part in parts] == [part.tolist() for part in np.array_split(x, cut)]
    assert [part.T.tolist() for part in dt.tensor(x.T).tensor_split(cut, dim=1)] == [part.tolist() for part in parts]
    for same in (dt.tensor(cut), np.asarray(cut)) if cut != [] else ():
        assert [part.tolist() for part in dt.tensor(x).tensor_split(same)] == [part.tolist() for part in parts]


@pytest.mark.parametrize("dtype", ["f32", "f64", "s32", "s8", "u8"])
def test_fmod_is_numpys(dtype: str) -> None:
    numbers = np.array([0, 1, 2, 5, 7, 100, 127]) if dtype == "u8" else np.array([-128, -7, -5, -1, 0, 1, 5, 7, 127])
    x, y = np.meshgrid(numbers, numbers[numbers != 0])
    given = dt.tensor(x).to(dtype), dt.tensor(y).to(dtype)
    assert dt.fmod(*given).tolist() == np.fmod(given[0].numpy(), given[1].numpy()).tolist()


def test_fmod_is_exact_and_has_gradients() -> None:
    x, y = np.array([-1e-20, 1e18, 5.5, np.inf, 3.0]), np.array([1.0, 3.0, -2.0, 2.0, np.inf])
    found = F.fmod(dt.tensor(x, dtype="f64"), dt.tensor(y, dtype="f64"))
    np.testing.assert_array_equal(found.numpy(), [*np.fmod(x[:3], y[:3]), np.nan, 3.0])
    a, b = dt.tensor([-7.5, 7.5, 0.0], requires_grad=True), dt.tensor([2.0, -2.0, 2.0], requires_grad=True)
    F.fmod(a, b).sum().backward()
    assert a.grad is not None and a.grad.tolist() == [1.0] * 3
    assert b.grad is not None and b.grad.tolist() == [3.0, 3.0, 0.0]


def test_numbers_for_what_is_none() -> None:
    x = dt.tensor([float("nan"), float("inf"), -float("inf"), 2.0], requires_grad=True)
    largest = float(dt.finfo("f32").max)
    assert dt.nan_to_num(x).tolist() == [0.0, largest, -largest, 2.0]
    found = x.nan_to_num(nan=1.0, posinf=5.0, neginf=-5.0)
    assert found.tolist() == [1.0, 5.0, -5.0, 2.0]
    found.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0.0, 0.0, 0.0, 1.0]
    assert dt.nan_to_num(dt.tensor([float("inf")], dtype="f16")).item() == 65504.0
    assert dt.nan_to_num(dt.tensor([3])).tolist() == [3]


def test_products_that_add_ignore_what_a_beta_of_0_leaves_out() -> None:
    nan = dt.full((2, 2), float("nan"))
    eye = dt.eye(2)
    assert dt.addmm(nan, eye, eye, beta=0).tolist() == eye.tolist()
    assert dt.baddbmm(nan, eye[None], eye[None], beta=0, alpha=2).tolist() == [[[2.0, 0.0], [0.0, 2.0]]]
    batch = dt.arange(12).reshape(3, 2, 2).float()
    found = dt.baddbmm(input=dt.ones(2), batch1=batch, batch2=batch, beta=3, alpha=2)
    np.testing.assert_allclose(found.numpy(), 3 + 2 * batch.numpy() @ batch.numpy())
    with pytest.raises(ValueError, match="3 axes and 3 axes"):
        dt.baddbmm(eye, eye, eye)
