"""Layout: names and block sizes."""

from __future__ import annotations

import pytest

from dtrain.base.layout import Layout

BLOCKS = {"": 1, "NCHW": 1, "NHWC": 1, "NCHW4": 4, "NCHW8": 8, "NCHW16": 16, "NCHW32": 32}


@pytest.mark.parametrize("layout", list(Layout), ids=str)
def test_block(layout: Layout) -> None:
    assert layout.block == BLOCKS[layout.value]


def test_names_are_those_that_graphs_print() -> None:
    assert {layout.value for layout in Layout} == set(BLOCKS)
    assert Layout("NCHW16") is Layout.NCHW16
