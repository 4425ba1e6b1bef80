"""Images laid out anew: the same elements and shape, another order in memory (`base/layout.py`)."""

from __future__ import annotations

from dtrain.base.layout import LayoutLike, as_layout
from dtrain.core.relayout import relayout as relaid
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.graph.op import gradient_of
from dtrain.opset.relayout import RELAYOUT


@gradient_of(RELAYOUT)
def _grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (relaid(grad, node.inputs[0].type.layout),)


def relayout(x: Tensor, layout: LayoutLike) -> Tensor:
    """The same elements in another layout: "NCHW", "NHWC", or blocks of channels such as "NCHW16c". The shape stays.

    Channels that do not fill a block are padded with zeros, which no function counts as elements. `x.numpy()` gives the
    logical order whatever the layout.

    >>> relayout(ones((1, 13, 2, 2)), "NCHW16c").type
    f32[1,13,2,2]{NCHW16c}@cpu
    """
    return relaid(as_tensor(x), as_layout(layout))


install_methods({"relayout": relayout})
