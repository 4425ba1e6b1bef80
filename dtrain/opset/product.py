"""Facts of the ops behind `ops/product.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

from dtrain.base.dtype import ALL
from dtrain.base.tensor_type import TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.opset.infer import normalize_axes
from dtrain.opset.reduction import EMPTY_SHAPES, SHAPES, Axes, calls_over, reduction, widened

PROD = reduction("prod", widened, calls=calls_over(SHAPES + EMPTY_SHAPES), dtypes=ALL)


def _others_infer(x: TensorType, *, axis: Axes) -> TensorType:
    normalize_axes("prod_of_others", axis, x.ndim)
    return x


PROD_OF_OTHERS = register_op(
    Op(
        name="prod_of_others",
        infer=_others_infer,
        calls=lambda: [
            Call(inputs=((2, 3, 4),), attrs={"axis": (1,)}),
            Call(inputs=((2, 3, 2),), attrs={"axis": (0, 2)}),
            Call(inputs=((),), attrs={"axis": ()}),
        ],
    )
)
