"""The last of several writers wins, also where the array module assigns in any order."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cuda_emulation import emulated_module
from helpers.cuda_emulation.emulated_cupy import emulated_cuda

from dtrain.kernels.reference.write_at import write_at

KEYS = {
    "rows": (np.array([2, 0, 2, 1, 2]),),
    "pairs": (np.array([0, 1, 0, 0]), np.array([3, 1, 3, 2])),
    "column": (slice(None), np.array([1, 1, 0])),
    "none": (np.zeros(0, dtype=np.int64),),
}


def loop(total: np.ndarray, key: tuple, values: np.ndarray) -> np.ndarray:
    """One place after another."""
    places = np.arange(total.size).reshape(total.shape)[key]
    flat = total.copy().reshape(-1)
    for place, value in zip(places.reshape(-1), np.broadcast_to(values, places.shape).reshape(-1)):
        flat[place] = value
    return flat.reshape(total.shape)


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
@pytest.mark.parametrize("on_gpu", [False, True])
def test_the_last_writer_wins(key: tuple, on_gpu: bool) -> None:
    total = np.arange(12.0).reshape(3, 4)
    values = -np.arange(1.0, total[key].size + 1).reshape(total[key].shape)
    wanted = loop(total, key, values)
    if not on_gpu:
        write_at(total, key, values)
        assert np.array_equal(total, wanted)
        return
    if emulated_module.COMPILER is None:
        pytest.skip("no host C++ compiler for the emulated GPU")
    with emulated_cuda():
        import cupy

        there = cupy.asarray(total)
        moved = tuple(entry if isinstance(entry, slice) else cupy.asarray(entry) for entry in key)
        write_at(there, moved, cupy.asarray(values))
        assert np.array_equal(there.get(), wanted)
