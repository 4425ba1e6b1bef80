"""Facts of the ops behind `ops/max_pool.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.base.dtype import int32
from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.base.tensor_type import Shape, TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call, Typed, large
from dtrain.opset.convolution import Pair
from dtrain.opset.pool_windows import adaptive_calls, cell_type, expect_images, window_type


def _infer_max(x: TensorType, **attrs: Any) -> tuple[TensorType, TensorType]:
    expect_images("max_pool2d", x)
    y = window_type("max_pool2d", x, **attrs)
    return y, y.with_(dtype=int32)


_DILATED = {
    "kernel_size": (2, 3), "stride": (2, 2), "padding": (1, 1), "dilation": (2, 3), "ceil_mode": True,
}  # fmt: skip

MAX = register_op(
    Op(
        name="max_pool2d",
        infer=_infer_max,
        saves_outputs=(1,),
        calls=lambda: [
            Call(inputs=((2, 3, 6, 5),), attrs={"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}),
            Call(inputs=((1, 2, 5, 7),), attrs={"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1)}),
            Call(inputs=((0, 2, 4, 4),), attrs={"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}),
            Call(inputs=((1, 2, 5, 7),), attrs=_DILATED),
            large("16x64x32x32, 2x2/2", (16, 64, 32, 32), kernel_size=(2, 2), stride=(2, 2), padding=(0, 0)),
        ],
    )
)


def _infer_adaptive_max(x: TensorType, *, output_size: Pair) -> tuple[TensorType, TensorType]:
    y = cell_type("adaptive_max_pool2d", x, output_size)
    return y, y.with_(dtype=int32)


ADAPTIVE_MAX = register_op(
    Op(
        name="adaptive_max_pool2d",
        infer=_infer_adaptive_max,
        saves_outputs=(1,),
        calls=adaptive_calls,
    )
)


def _infer_max_backward(grad: TensorType, indices: TensorType, *, input_shape: Shape) -> TensorType:
    if grad.shape != indices.shape:
        raise ShapeError(expected("max_pool2d_backward", "an index for each gradient", f"{grad} and {indices}"))
    if not indices.dtype.is_integer:
        raise DtypeError(expected("max_pool2d_backward", "integer indices", str(indices)))
    return grad.with_(shape=input_shape)


MAX_BACKWARD = register_op(
    Op(
        name="max_pool2d_backward",
        infer=_infer_max_backward,
        beside=(1,),
        calls=lambda: [
            Call(
                inputs=((1, 2, 2, 2), np.array([[[[0, 1], [5, 11]], [[2, 2], [7, 2]]]], dtype=np.int32)),
                attrs={"input_shape": (1, 2, 3, 4)},
            ),
            large(
                "16x64x32x32, 2x2/2",
                (16, 64, 16, 16),
                Typed((16, 64, 16, 16), "int32", 32 * 32),
                input_shape=(16, 64, 32, 32),
            ),
        ],
    )
)
