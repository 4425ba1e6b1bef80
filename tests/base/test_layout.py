"""Layouts: names, the shapes of their arrays, and what they do not take."""

from __future__ import annotations

import copy
import pickle

import pytest

from dtrain.base.errors import LayoutError
from dtrain.base.layout import ALL, LAID_OUT, NCHW16C, NHWC, PLAIN, Layout, as_layout

BLOCKS = {"NCHW": 1, "NHWC": 1, "NCHW4c": 4, "NCHW8c": 8, "NCHW16c": 16, "NCHW32c": 32}


@pytest.mark.parametrize("layout", ALL, ids=str)
def test_block(layout: Layout) -> None:
    assert layout.block == BLOCKS[str(layout)]
    assert layout.is_blocked is (layout.block > 1)


def test_names_are_those_that_graphs_print() -> None:
    assert [str(layout) for layout in ALL] == list(BLOCKS)
    assert as_layout("NCHW16c") is NCHW16C is as_layout(NCHW16C)
    assert as_layout("NCHW") is PLAIN and PLAIN not in LAID_OUT


@pytest.mark.parametrize("layout", ALL, ids=str)
def test_copies_are_the_same_object(layout: Layout) -> None:
    assert pickle.loads(pickle.dumps(layout)) is layout
    assert copy.deepcopy(layout) is layout


@pytest.mark.parametrize("name", ["NCHW16", "NCHW16C", "nchw", "CHWN", "", 16, None])
def test_one_spelling(name) -> None:
    with pytest.raises(LayoutError, match=r"layout: expected one of NCHW, NHWC, NCHW4c, .*, got "):
        as_layout(name)


def test_array_shapes() -> None:
    assert PLAIN.array_shape((2, 13, 5, 7)) == (2, 13, 5, 7)
    assert NHWC.array_shape((2, 13, 5, 7)) == (2, 5, 7, 13)
    assert NCHW16C.array_shape((2, 13, 5, 7)) == (2, 1, 5, 7, 16)
    assert NCHW16C.array_shape((2, 16, 5, 7)) == (2, 1, 5, 7, 16)
    assert NCHW16C.array_shape((2, 17, 5, 7)) == (2, 2, 5, 7, 16)
    assert NCHW16C.array_shape((2, 0, 5, 7)) == (2, 0, 5, 7, 16)


@pytest.mark.parametrize("layout", LAID_OUT, ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (1, 2, 3, 4, 5)])
def test_only_images_are_laid_out(layout: Layout, shape) -> None:
    assert PLAIN.array_shape(shape) == shape
    with pytest.raises(LayoutError, match=r"expected a tensor \[N, C, H, W\]"):
        layout.array_shape(shape)
