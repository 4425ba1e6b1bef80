"""Collectives that fill places given by the caller: what does not fit is named, before anything is lost in it."""

from __future__ import annotations

import re
from typing import Any

import pytest

import dtrain as dt
from dtrain import collectives as dist
from dtrain.base.errors import DtypeError, ShapeError
from dtrain.collectives.thread_communicator import run_threads


@pytest.mark.parametrize("size", [1, 2])
def test_places_of_another_size_or_dtype_are_named(size: int) -> None:
    """A float in a place for integers would lose its fraction without a word."""

    def program(communicator: Any) -> None:
        with dist.using(communicator):
            check(communicator.size)

    def check(size: int) -> None:
        x = dt.tensor([1.5, 2.5])
        for place, error in ((dt.zeros(3), ShapeError), (dt.zeros(2, dtype="s64"), DtypeError)):
            match = r"a collective: expected a place for f32\[(1,)?2\]@cpu, got " + re.escape(str(place.type))
            with pytest.raises(error, match=match):
                dist.reduce_scatter(place, [x] * size)

    run_threads(size, program)
