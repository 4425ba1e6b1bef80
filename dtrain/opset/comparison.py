"""Facts of the ops behind `ops/comparison.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

from dtrain.base.dtype import ALL, INTEGERS, bool_
from dtrain.base.errors import DtypeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.layout_rules import computes_lane_by_lane
from dtrain.graph.op import Op, register_op
from dtrain.opset.elementwise_calls import binary_calls, unary_calls
from dtrain.opset.infer import boolean, broadcast_shapes

BITS = (bool_, *INTEGERS)


def _comparison(name: str) -> Op:
    def infer(x: TensorType, y: TensorType) -> TensorType:
        return boolean(x.with_(shape=broadcast_shapes(name, x.shape, y.shape)))

    op = Op(name=name, infer=infer, promotes=True, calls=binary_calls(), dtypes=ALL)
    return computes_lane_by_lane(register_op(op))


def _test(name: str) -> Op:
    op = Op(name=name, infer=boolean, calls=unary_calls(-2, 2), dtypes=ALL)
    return computes_lane_by_lane(register_op(op))


def _bits(name: str, low: float = -2.0) -> Op:
    def infer(x: TensorType, y: TensorType) -> TensorType:
        _expect_bits(name, x)
        return x.with_(shape=broadcast_shapes(name, x.shape, y.shape))

    dtypes = INTEGERS if name.endswith("shift") else BITS
    op = Op(name=name, infer=infer, promotes=True, calls=binary_calls(low, 5), dtypes=dtypes)
    return computes_lane_by_lane(register_op(op))


def _expect_bits(name: str, x: TensorType) -> TensorType:
    if x.dtype.is_floating:
        raise DtypeError(expected(name, "integers or bools", str(x), "compare first, or cast with .to('s32')"))
    return x


EQUAL = _comparison("equal")

NOT_EQUAL = _comparison("not_equal")

LESS = _comparison("less")

LESS_EQUAL = _comparison("less_equal")

GREATER = _comparison("greater")

GREATER_EQUAL = _comparison("greater_equal")

LOGICAL_AND = _comparison("logical_and")

LOGICAL_OR = _comparison("logical_or")

LOGICAL_XOR = _comparison("logical_xor")

LOGICAL_NOT = _test("logical_not")

ISNAN = _test("isnan")

ISINF = _test("isinf")

ISFINITE = _test("isfinite")

BITWISE_AND = _bits("bitwise_and")

BITWISE_OR = _bits("bitwise_or")

BITWISE_XOR = _bits("bitwise_xor")

LEFT_SHIFT = _bits("left_shift", 0)

RIGHT_SHIFT = _bits("right_shift", 0)


def _bitwise_not_infer(x: TensorType) -> TensorType:
    return _expect_bits("bitwise_not", x)


BITWISE_NOT = register_op(Op(name="bitwise_not", infer=_bitwise_not_infer, calls=unary_calls(-5, 5), dtypes=BITS))


computes_lane_by_lane(BITWISE_NOT)
