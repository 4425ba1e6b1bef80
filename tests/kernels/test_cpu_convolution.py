"""im2col convolution beyond its kernels: chunks of images, threads that compute side by side."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from dtrain.base.dtype import float32
from dtrain.base.tensor_type import tensor_type
from dtrain.kernels import Problem, kernels_of, reference_of
from dtrain.kernels.cpu_convolution import _chunks
from dtrain.kernels.workspace import with_workspace

ATTRS = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}


def test_chunks_cover_the_batch_once() -> None:
    for batch, pixels in ((1, 1), (7, 300), (5, 5000), (100, 64), (3, 1024)):
        images = [i for chunk in _chunks(batch, pixels) for i in range(batch)[chunk]]
        assert images == list(range(batch))
        assert all((chunk.stop - chunk.start) * pixels <= max(1024, pixels) for chunk in _chunks(batch, pixels))


def test_threads_compute_side_by_side() -> None:
    compiled = [
        candidate for candidate in kernels_of("conv2d") if "_f32_im2col_" in candidate.name and candidate.is_supported
    ]
    if not compiled:
        pytest.skip("the compiled module is not built")
    failures = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((6, 3, 12 + seed, 11), (5, 3, 3, 3)))
        wanted, got = (np.empty((6, 5, 12 + seed, 11), np.float32) for _ in range(2))
        reference_of("conv2d").function(x, w, wanted, **ATTRS)
        types = [tensor_type(array.shape, float32) for array in (x, w, got)]
        nbytes = compiled[0].workspace_nbytes(Problem("conv2d", types[:2], types[2:], ATTRS))
        function = with_workspace(compiled[0].function, nbytes)
        for _ in range(20):
            function(x, w, out=got, **ATTRS)
            if not np.allclose(got, wanted, rtol=1e-4, atol=1e-4):
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
