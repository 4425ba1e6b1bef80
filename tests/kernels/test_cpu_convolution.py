"""im2col convolution beyond its kernels: chunks of images, scratch that is reused, threads that do not share."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from dtrain.kernels import kernels_of, reference_of
from dtrain.kernels.cpu_convolution import _chunks
from dtrain.kernels.workspace import scratch_array

ATTRS = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}


def test_chunks_cover_the_batch_once() -> None:
    for batch, pixels in ((1, 1), (7, 300), (5, 5000), (100, 64), (3, 1024)):
        images = [i for chunk in _chunks(batch, pixels) for i in range(batch)[chunk]]
        assert images == list(range(batch))
        assert all((chunk.stop - chunk.start) * pixels <= max(1024, pixels) for chunk in _chunks(batch, pixels))


def test_scratch_is_reused_and_grows() -> None:
    first = scratch_array("test", (4, 5), np.float32)
    assert first.shape == (4, 5)
    assert np.shares_memory(first, scratch_array("test", (10,), np.float32))
    assert scratch_array("test", (100, 3), np.float32).shape == (100, 3)
    assert not np.shares_memory(scratch_array("test", (4,), np.float64), scratch_array("test", (4,), np.float32))


def test_threads_have_their_own_scratch() -> None:
    mine, theirs = scratch_array("test", (8,), np.float32), []
    thread = threading.Thread(target=lambda: theirs.append(scratch_array("test", (8,), np.float32)))
    thread.start()
    thread.join()
    assert not np.shares_memory(mine, theirs[0])


def test_threads_compute_side_by_side() -> None:
    compiled = [info for info in kernels_of("conv2d") if "_f32_im2col_" in info.name and info.is_supported]
    if not compiled:
        pytest.skip("the compiled module is not built")
    failures = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((6, 3, 12 + seed, 11), (5, 3, 3, 3)))
        wanted, got = (np.empty((6, 5, 12 + seed, 11), np.float32) for _ in range(2))
        reference_of("conv2d").function(x, w, wanted, **ATTRS)
        for _ in range(20):
            compiled[0].function(x, w, got, **ATTRS)
            if not np.allclose(got, wanted, rtol=1e-4, atol=1e-4):
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
