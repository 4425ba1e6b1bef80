"""Facts of the ops behind `ops/binary_cross_entropy.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.opset.infer import floating


def _infer(prediction: TensorType, target: TensorType) -> TensorType:
    floating("binary_cross_entropy", prediction)
    if prediction.shape != target.shape:
        wanted = "prediction and target of one shape"
        raise ShapeError(expected("binary_cross_entropy", wanted, f"{prediction} and {target}"))
    return prediction


BINARY_CROSS_ENTROPY = register_op(
    Op(
        name="binary_cross_entropy",
        infer=_infer,
        promotes=True,
        checks=True,
        calls=lambda: [
            Call(inputs=((3, 4), (3, 4)), low=0.1, high=0.9),
            Call(inputs=((), ()), low=0.1, high=0.9),
            Call(inputs=((0, 2), (0, 2)), low=0.1, high=0.9),
        ],
    )
)
