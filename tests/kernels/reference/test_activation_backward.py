"""Activation gradients in Python numbers."""

from __future__ import annotations

import numpy as np

from dtrain.kernels import reference_of


def test_relu_passes_the_gradient_where_the_output_is_positive() -> None:
    grad, y = np.array([1.0, 2.0, 3.0, 4.0], np.float32), np.array([0.0, 5.0, -0.0, 1e-30], np.float32)
    out = np.empty_like(grad)
    reference_of("relu_backward").function(grad, y, out=out)
    assert out.tolist() == [0.0, 2.0, 0.0, 4.0]
