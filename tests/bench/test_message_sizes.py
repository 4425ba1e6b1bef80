"""Sizes on the command line."""

from __future__ import annotations

import argparse

import pytest

from dtrain.bench.collectives.message_sizes import parse_bytes, sweep


@pytest.mark.parametrize(
    ("text", "nbytes"), [("8", 8), ("0", 0), ("1K", 1024), ("64M", 64 << 20), ("1.5m", 3 << 19), ("2G", 2 << 30)]
)
def test_units_are_powers_of_two(text: str, nbytes: int) -> None:
    assert parse_bytes(text) == nbytes


@pytest.mark.parametrize("text", ["", "K", "8T", "-1", "8.5", "1e400", "nan"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected bytes such as 8, 64K, 32M or 1G, got"):
        parse_bytes(text)


def test_sweep_by_factor_and_by_step() -> None:
    assert sweep(8, 64, factor=2, step=None, itemsize=4) == [2, 4, 8, 16]
    assert sweep(8, 40, factor=2, step=16, itemsize=8) == [1, 3, 5]
    assert sweep(1, 8, factor=1.1, step=None, itemsize=4) == [0, 1, 2], "each count once"
    assert sweep(9, 8, factor=2, step=None, itemsize=4) == []
