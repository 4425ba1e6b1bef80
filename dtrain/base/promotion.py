"""In which dtype inputs of several dtypes are computed: PyTorch's rule, in which integers never widen a float.

Tensors with axes decide; a 0-d tensor, and after it a Python number, counts only where it is of a greater kind (bool <
integer < float). docs/design/0012-dtypes.md has the table.
"""

from __future__ import annotations

from collections.abc import Sequence

from dtrain.base.dtype import DType, promote
from dtrain.base.tensor_type import TensorType

_KINDS = {"bool": 0, "unsigned": 1, "signed": 1, "float": 2, "quantized": 3}


def common_dtype(types: Sequence[TensorType]) -> DType:
    """The dtype in which an op computes on inputs of these types."""
    with_axes = [type.dtype for type in types if type.shape]
    without = [type.dtype for type in types if not type.shape]
    if not with_axes or not without:
        return promote(*(with_axes or without))
    common, weak = promote(*with_axes), promote(*without)
    return promote(common, weak) if _KINDS[weak.kind] > _KINDS[common.kind] else common
