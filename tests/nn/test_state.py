"""Checking, loading and moving tensors behind a module."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
from dtrain import nn
from dtrain.nn.state import check_state, load_state, move_tensor


def test_names_are_compared():
    own = {"a": dt.zeros((1,)), "b": dt.zeros((1,))}
    assert check_state("M", own, {"b": own["b"], "c": 1}, strict=False) == (["a"], ["c"])
    assert check_state("M", own, own, strict=True) == ([], [])


def test_long_lists_of_names_are_cut():
    own = {f"layer{i}": dt.zeros((1,)) for i in range(20)}
    with pytest.raises(KeyError, match=r"20 missing \(layer0, .*, layer7 and 12 more\)"):
        check_state("M", own, {}, strict=True)


def test_loading_writes_into_the_same_memory():
    own = {"a": dt.zeros((2,))}
    array = own["a"].array
    load_state(own, {"a": np.array([1, 2], np.float32), "other": 3})
    assert array.tolist() == [1, 2]


def test_loading_inside_no_history():
    own = {"a": dt.zeros((2,))}
    source = dt.ones((2,)).requires_grad_()
    load_state(own, {"a": source * 2})
    assert own["a"].tolist() == [2, 2] and own["a"].is_leaf and not own["a"].requires_grad


@pytest.mark.parametrize("target", ["f64", dt.float64, np.float64])
def test_a_dtype_moves_floats_only(target):
    number, count = dt.ones((2,)), dt.tensor([1, 2])
    for tensor in (number, count):
        move_tensor(tensor, target)
    assert number.dtype is dt.float64 and number.array.dtype == np.float64 and count.dtype is dt.int64


@pytest.mark.parametrize("target", ["cpu", dt.device("cpu")])
def test_a_device_moves_everything(target):
    tensor = dt.tensor([1, 2])
    move_tensor(tensor, target)
    assert tensor.device.is_cpu and tensor.tolist() == [1, 2]


def test_the_batch_counts_of_pytorch_are_passed_over_and_nothing_else_is() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    state = {**model.state_dict(), "1.num_batches_tracked": dt.tensor(7)}
    assert model.load_state_dict(state) == ([], [])
    assert nn.BatchNorm1d(2).load_state_dict({**nn.BatchNorm1d(2).state_dict(), "num_batches_tracked": 3}) == ([], [])
    average = {name: tensor * 0.5 for name, tensor in state.items()}  # of states, as people make it
    assert model.load_state_dict(average) == ([], [])
    assert model[1].num_batches_tracked.item() == 3 and model[1].num_batches_tracked.dtype is dt.int64
    with pytest.raises(KeyError, match="num_batches_tracked"):  # no running statistics beside it
        model.load_state_dict({**model.state_dict(), "0.num_batches_tracked": dt.tensor(7)})
    with pytest.raises(KeyError, match="my_num_batches_tracked"):
        model.load_state_dict({**model.state_dict(), "1.my_num_batches_tracked": dt.tensor(7)})
