"""Tensors on a GPU and arrays of others: CuPy's are shared, DLPack goes both ways, the CPU gets copies."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
from dtrain.base.errors import DeviceError

pytestmark = pytest.mark.gpu


def test_cupy_arrays_are_shared(gpu: str) -> None:
    import cupy

    array = cupy.arange(6, dtype="float32")
    tensor = dt.as_tensor(array)
    array[0] = 42
    assert str(tensor.device) == gpu
    assert tensor.numpy()[0] == 42


def test_dlpack_goes_both_ways(gpu: str) -> None:
    import cupy

    tensor = dt.arange(6, dtype="f32", device=gpu)
    array = cupy.from_dlpack(tensor)
    array[1] = -1
    assert tensor.numpy()[1] == -1
    back = dt.as_tensor(array)
    assert back.array.data.ptr == tensor.array.data.ptr


def test_copies_between_devices_keep_values(gpu: str) -> None:
    x = dt.tensor(np.arange(12.0).reshape(3, 4).T)
    np.testing.assert_array_equal(x.to(gpu).to("cpu").numpy(), x.numpy())


def test_mixing_devices_says_what_to_do(gpu: str) -> None:
    with pytest.raises(DeviceError, match=r"inputs on one device.*move them with \.to\(device\)"):
        dt.zeros(3, device=gpu) + dt.zeros(3)


def test_a_gpu_that_is_not_there_is_refused(gpu: str) -> None:
    with pytest.raises(DeviceError, match="request gpu63 out of valid range"):
        dt.zeros(3, device="cuda:63")
