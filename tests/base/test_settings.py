"""PyTorch's switches: what is so here is taken, anything else refused."""

from __future__ import annotations

from typing import Any

import pytest

import dtrain as dt


def test_what_is_so_is_taken() -> None:
    dt.use_deterministic_algorithms(True)
    dt.use_deterministic_algorithms(False, warn_only=True)
    assert dt.are_deterministic_algorithms_enabled()
    for precision in ("highest", "high", "medium"):
        dt.set_float32_matmul_precision(precision)
    assert dt.get_float32_matmul_precision() == "highest"
    dt.set_default_dtype(dt.float32)
    dt.set_default_device("cpu")
    assert dt.get_default_dtype() is dt.float32 is dt.tensor([1.0]).dtype


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: dt.set_default_dtype(dt.float64), ValueError, "expected f32, got f64; give dtype="),
        (lambda: dt.set_default_device("cuda"), ValueError, "expected cpu"),
        (lambda: dt.set_float32_matmul_precision("low"), ValueError, "highest or high or medium"),
        (lambda: dt.use_deterministic_algorithms("yes"), TypeError, "True or False"),
    ],
)
def test_what_is_not_so_is_refused(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
