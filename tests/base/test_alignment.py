"""Rounding up to cache lines."""

from __future__ import annotations

import pytest

from dtrain.base.alignment import aligned


@pytest.mark.parametrize(("nbytes", "wanted"), [(0, 0), (1, 64), (64, 64), (65, 128), (1000, 1024)])
def test_aligned(nbytes: int, wanted: int) -> None:
    assert aligned(nbytes) == wanted
