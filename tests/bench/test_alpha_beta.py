"""The fitted line."""

from __future__ import annotations

import pytest

from dtrain.bench.collectives.alpha_beta import fit

SIZES = [2**n for n in range(3, 27)]


def test_a_line_is_found_exactly() -> None:
    line = fit(SIZES, [5e-6 + 2e-10 * size for size in SIZES])
    assert line is not None
    assert line.alpha == pytest.approx(5e-6) and line.beta == pytest.approx(2e-10)
    assert line.residual < 1e-9 and line.predict(1000) == pytest.approx(5.2e-6)
    assert "alpha 5.00 us, beta 0.2000 ns/B (5.00 GB/s)" in str(line)


def test_small_messages_count_as_much_as_large_ones() -> None:
    seconds = [5e-6 + 2e-10 * size for size in SIZES]
    seconds[-1] *= 3
    line = fit(SIZES, seconds)
    assert line is not None and line.alpha == pytest.approx(5e-6, rel=0.1)
    assert line.worst_nbytes == SIZES[-1] and line.worst > 0.3


def test_coefficients_are_never_negative() -> None:
    falling = fit([1, 10, 100], [3.0, 2.0, 1.0])
    assert falling is not None and falling.beta == 0 and falling.alpha > 0 and "unlimited" in str(falling)
    steep = fit([1, 2, 3], [0.1, 1.2, 3.0])
    assert steep is not None and steep.alpha == 0 and steep.beta > 0


def test_one_size_has_no_line() -> None:
    assert fit([], []) is None and fit([8], [1.0]) is None and fit([8, 8], [1.0, 1.1]) is None
