"""Facts of the ops behind `ops/relayout.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

from dtrain.base.dtype import ALL
from dtrain.base.errors import LayoutError, expected
from dtrain.base.layout import NCHW8C, NHWC, PLAIN, Layout
from dtrain.base.tensor_type import TensorType
from dtrain.graph.layout_rules import LAYOUT_RULES, LayoutRule
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call


def _infer(x: TensorType, *, source: Layout, layout: Layout) -> TensorType:
    if x.layout is not source or (source is PLAIN) is (layout is PLAIN):
        wanted = f"an input in {source}, and {PLAIN} as one of the two layouts"
        raise LayoutError(expected("relayout", wanted, f"{x} to {layout}"))
    return x.with_(layout=layout)


def _calls() -> list[Call]:
    shapes = ((2, 13, 3, 2), (1, 16, 1, 1), (0, 5, 2, 2))
    return [
        Call(inputs=(shape,), attrs={"source": PLAIN, "layout": layout})
        for layout in (NCHW8C, NHWC)
        for shape in shapes
    ]


RELAYOUT = register_op(Op(name="relayout", infer=_infer, calls=_calls, dtypes=ALL, grad_reads="none"))


LAYOUT_RULES.register(RELAYOUT, LayoutRule(lambda op, types, attrs: (_infer(*types, **attrs),)))
