"""Images laid out anew: the same elements and shape, another order in memory (`base/layout.py`)."""

from __future__ import annotations

from dtrain.base.dtype import ALL
from dtrain.base.errors import LayoutError, expected
from dtrain.base.layout import NCHW8C, NHWC, PLAIN, Layout, LayoutLike, as_layout
from dtrain.base.tensor_type import TensorType
from dtrain.core.relayout import relayout as relaid
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.graph.layout_rules import LAYOUT_RULES, LayoutRule
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call


def _infer(x: TensorType, *, source: Layout, layout: Layout) -> TensorType:
    if x.layout is not source or (source is PLAIN) is (layout is PLAIN):
        wanted = f"an input in {source}, and {PLAIN} as one of the two layouts"
        raise LayoutError(expected("relayout", wanted, f"{x} to {layout}"))
    return x.with_(layout=layout)


def _grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (relaid(grad, node.inputs[0].type.layout),)


def _calls() -> list[Call]:
    shapes = ((2, 13, 3, 2), (1, 16, 1, 1), (0, 5, 2, 2))
    return [
        Call(inputs=(shape,), attrs={"source": PLAIN, "layout": layout})
        for layout in (NCHW8C, NHWC)
        for shape in shapes
    ]


RELAYOUT = register_op(Op(name="relayout", infer=_infer, grad=_grad, calls=_calls, dtypes=ALL, grad_reads="none"))
LAYOUT_RULES.register(RELAYOUT, LayoutRule(lambda op, types, attrs: (_infer(*types, **attrs),)))


def relayout(x: Tensor, layout: LayoutLike) -> Tensor:
    """The same elements in another layout: "NCHW", "NHWC", or blocks of channels such as "NCHW16c". The shape stays.

    Channels that do not fill a block are padded with zeros, which no function counts as elements. `x.numpy()` gives the
    logical order whatever the layout.

    >>> relayout(ones((1, 13, 2, 2)), "NCHW16c").type
    f32[1,13,2,2]{NCHW16c}@cpu
    """
    return relaid(as_tensor(x), as_layout(layout))


install_methods({"relayout": relayout})
