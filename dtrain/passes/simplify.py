"""Pieces of a graph that compute what is there already.

Only what leaves every bit as it is: −0.0, the sign and the payload of NaN, wrapped integers.
"""

from __future__ import annotations

from dtrain.graph.editor import Editor
from dtrain.graph.graph import Graph, Value
from dtrain.graph.pattern import Match, anything, call, filled_with
from dtrain.graph.rewrite import Rule, rewrite


def _x(editor: Editor, match: Match) -> Value:
    return match["x"]


def _has_type_of_x(match: Match) -> bool:
    return match.output.type is match["x"].type


def _is_integer_like_x(match: Match) -> bool:
    return _has_type_of_x(match) and match.output.type.dtype.is_integer


RULES = [
    Rule(
        name="neg_of_neg",
        pattern=call("neg", call("neg", anything("x"))),
        replacement=_x,
        reason="a sign that is turned twice is as it was",
    ),
    Rule(
        name="cast_to_same",
        pattern=call("cast", anything("x")),
        condition=_has_type_of_x,
        replacement=_x,
        reason="it has this dtype already",
    ),
    Rule(
        name="reshape_to_same",
        pattern=call("reshape", anything("x")),
        condition=_has_type_of_x,
        replacement=_x,
        reason="it has this shape already",
    ),
    Rule(
        name="times_one",
        pattern=call("mul", anything("x"), filled_with(1)),
        condition=_is_integer_like_x,  # the product makes signalling NaNs quiet
        replacement=_x,
        reason="a product with 1",
    ),
    Rule(
        name="plus_zero",
        pattern=call("add", anything("x"), filled_with(0)),
        condition=_is_integer_like_x,  # −0.0 + 0.0 is 0.0
        replacement=_x,
        reason="a sum with 0",
    ),
]


def simplify(graph: Graph) -> None:
    """Apply `RULES` until none applies any more."""
    rewrite(graph, RULES)
