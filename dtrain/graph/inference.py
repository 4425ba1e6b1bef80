"""Output types from input types, for all who ask: dispatch, graphs, verify. Layouts and quantizations follow rules.

`Op.infer` sees logical shapes and plain dtypes only, so that none of them can claim what nobody computes. What is laid
out or quantized passes an op only by a rule of its own (`layout_rules.py`, `quantization_rules.py`); an op without one
refuses it here, before anything runs or is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dtrain.base.errors import DtypeError, LayoutError, expected
from dtrain.base.layout import PLAIN
from dtrain.base.tensor_type import TensorType
from dtrain.graph.layout_rules import LAYOUT_RULES
from dtrain.graph.op import Op
from dtrain.graph.quantization_rules import QUANTIZATION_RULES

Attrs = Mapping[str, Any]


def infer_types(op: Op, types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    """The types of all outputs of `op` on inputs of these types.

    Raises:
        LayoutError, DtypeError: the op has no rule for a layout or a quantization among them.
        ShapeError, DtypeError: what the op's own inference refuses.
    """
    for type in types:  # the usual ones are plain, and asked about for every node after every pass
        if not type.is_plain:
            return _by_rules(op, types, attrs)
    inferred = op.infer(*types, **attrs)
    return inferred if isinstance(inferred, tuple) else (inferred,)


def _by_rules(op: Op, types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    expect_rules(op.name, types)
    if any(type.element.quantization is not None for type in types):
        stored = [type.with_(dtype=type.element.storage) for type in types]
        elements = QUANTIZATION_RULES.of(op.name)
        assert elements is not None
        return elements(op, types, attrs, infer_types(op, stored, attrs))
    lay = LAYOUT_RULES.of(op.name)
    assert lay is not None
    return lay.infer(op, types, attrs)


def expect_rules(name: str, types: Sequence[TensorType]) -> None:
    """Raise unless the op (or call) of this name has a rule for every layout and quantization among its inputs."""
    for type in types:
        if type.is_plain:
            continue
        given = ", ".join(map(str, types))
        if type.element.quantization is not None and name not in QUANTIZATION_RULES:
            advice = "it has no rule for quantized elements: give it the numbers that they stand for"
            raise DtypeError(expected(name, "plain numbers", given, advice))
        rule = LAYOUT_RULES.of(name)
        taken = () if rule is None else rule.layouts
        if type.layout is not PLAIN and type.layout not in taken:
            wanted = " or ".join(["tensors in the plain layout", *map(str, taken)])
            advice = f"it has no rule for {type.layout}: write x.relayout('{PLAIN}') before it"
            raise LayoutError(expected(name, wanted, given, advice))
