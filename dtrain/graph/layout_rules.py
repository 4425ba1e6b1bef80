"""Which ops take tensors that are laid out (`base/layout.py`), and how their outputs then lie. All others refuse them.

A rule names the layouts that it takes, and gives the types of all outputs. `lane_by_lane` is that of ops that compute
each element from those in the same place: they run over whole arrays, padding lanes included, and what comes out there
is as meaningless as what went in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dtrain.base.errors import LayoutError, expected
from dtrain.base.layout import LAID_OUT, PLAIN, Layout
from dtrain.base.tensor_type import TensorType
from dtrain.graph.facet import Facet
from dtrain.graph.op import Op

Attrs = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LayoutRule:
    """What an op does with laid-out inputs.

    infer: the types of all outputs.
    layouts: those that it takes besides the plain one. Its reference takes the same, other kernels some of them.
    """

    infer: Callable[[Op, Sequence[TensorType], Attrs], tuple[TensorType, ...]]
    layouts: tuple[Layout, ...] = LAID_OUT


LAYOUT_RULES: Facet[LayoutRule] = Facet("layout rule")


def computes_lane_by_lane(op: Op) -> Op:
    """Let `op` take inputs of one layout, any, and numbers (tensors without axes) beside them. Returns the op."""
    LAYOUT_RULES.register(op, LANE_BY_LANE)
    return op


def lane_by_lane(op: Op, types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    """The outputs lie as the inputs do.

    Raises:
        LayoutError: inputs of several layouts; blocks of channels that would broadcast, since the one channel lies in
            one lane; or values that the op refuses, since padding lanes may hold them.
    """
    laid_out = [type for type in types if type.layout is not PLAIN]
    layout, given = laid_out[0].layout, ", ".join(map(str, types))
    if any(type.layout is not layout and type.shape for type in types):
        advice = f"write x.relayout('{layout}') for the others, or x.relayout('{PLAIN}') for these"
        raise LayoutError(expected(op.name, "inputs of one layout", given, advice))
    if layout.is_blocked:
        _expect_no_meaning_in_padding(op, laid_out, layout, given)
    inferred = op.infer(*[type.with_(layout=PLAIN) for type in types], **attrs)
    outputs = inferred if isinstance(inferred, tuple) else (inferred,)
    return tuple(type.with_(layout=layout) for type in outputs)


LANE_BY_LANE = LayoutRule(lane_by_lane)


def _expect_no_meaning_in_padding(op: Op, laid_out: Sequence[TensorType], layout: Layout, given: str) -> None:
    advice = f"write x.relayout('{PLAIN}') before it"
    if len({type.shape[1] for type in laid_out}) > 1:
        raise LayoutError(expected(op.name, f"{layout} inputs of one number of channels", given, advice))
    if op.checks_values(laid_out):
        wanted = f"an op on {layout} that takes any value, since padding lanes hold any"
        raise LayoutError(expected(op.name, wanted, given, advice))
