"""One layout for another, for whoever is below the op families: gradients, writes, loading."""

from __future__ import annotations

from dtrain.base.layout import PLAIN, Layout
from dtrain.core.apply import apply
from dtrain.core.tensor import Tensor
from dtrain.graph.op import get_op


def relayout(x: Tensor, layout: Layout) -> Tensor:
    """The same elements in another layout, through the `relayout` op; x itself where nothing changes."""
    source = x.type.layout
    if source is layout:
        return x
    if source is not PLAIN and layout is not PLAIN:
        return relayout(relayout(x, PLAIN), layout)
    return apply(get_op("relayout"), x, source=source, layout=layout)
