"""Which ops take quantized tensors (`base/element.py`), and what their outputs stand for. All others refuse them.

A rule is given the output types that the op has for the stored integers, and gives them their elements. `carries` is
that of ops that only move elements: scale and zero point stay, and where they belong to an axis, the op must keep it.
Of views their rows (`kernels/views.py`) say where the axis then is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dtrain.base.element import element
from dtrain.base.errors import DtypeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.facet import Facet
from dtrain.graph.op import Op
from dtrain.kernels.views import VIEWS, AxisMap

Attrs = Mapping[str, Any]
Types = tuple[TensorType, ...]
QuantizationRule = Callable[[Op, Sequence[TensorType], Attrs, Types], Types]

QUANTIZATION_RULES: Facet[QuantizationRule] = Facet("quantization rule")


def carries_elements(op: Op | str, axis_map: AxisMap) -> None:
    """Let `op`, whose one output has the elements of its one input in other places, take quantized ones."""

    def rule(op: Op, types: Sequence[TensorType], attrs: Attrs, outputs: Types) -> Types:
        given = types[0].element.quantization
        assert given is not None and len(types) == len(outputs) == 1
        if given.axis is None:
            return (outputs[0].with_(dtype=types[0].element),)
        axis = axis_map(given.axis, types[0], outputs[0], attrs)
        if axis is None:
            wanted = f"axis {given.axis}, along which the scales are, to stay as it is"
            raise DtypeError(expected(op.name, wanted, f"{types[0]} to {outputs[0].shape}"))
        return (outputs[0].with_(dtype=element(types[0].element.storage, replace(given, axis=axis))),)

    QUANTIZATION_RULES.register(op, rule)


for _name, _view in VIEWS.items():
    if _view.axis_map is not None:
        carries_elements(_name, _view.axis_map)
