"""Facts of ops that floors above keep: one an op, told by name, and a second one is an error."""

from __future__ import annotations

import pytest

import dtrain.collectives.ops.graph_runs  # noqa: F401  registers facts of collectives
from dtrain.graph.facet import Facet
from dtrain.graph.layout_rules import LAYOUT_RULES
from dtrain.graph.op import Op, get_op
from dtrain.graph.quantization_rules import QUANTIZATION_RULES
from dtrain.runtime.buckets import BUCKET_MEMBERS
from dtrain.runtime.under_way import STARTS


def first() -> None: ...


def second() -> None: ...


def test_an_op_has_one_fact_in_a_facet() -> None:
    facet, op = Facet[object]("layout rule"), Op(name="swirl", infer=lambda x: x)
    assert repr(facet) == "Facet('layout rule': no op)"
    facet.register(op, first)
    facet.register(op, first)  # the same again
    with pytest.raises(ValueError, match=r"^layout rule of swirl: expected one an op, got second beside first$"):
        facet.register(op, second)
    with pytest.raises(ValueError, match=r"got \(2,\) beside first$"):
        facet.register(Op(name="swirl", infer=lambda x: x), (2,))  # another record, the same op
    assert facet.of("swirl") is first
    assert facet.of("add") is None


def test_a_facet_lists_the_ops_that_have_its_fact() -> None:
    facet = Facet[int]("number")
    for number, name in enumerate(("exp", "add")):
        facet.register(get_op(name), number)
    assert list(facet) == ["exp", "add"]
    assert "exp" in facet
    assert "sub" not in facet
    assert repr(facet) == "Facet('number': exp, add)"


@pytest.mark.parametrize("facet", [LAYOUT_RULES, QUANTIZATION_RULES, BUCKET_MEMBERS, STARTS], ids=lambda f: f.what)
def test_facts_of_the_product_are_of_registered_ops(facet: Facet[object]) -> None:
    names = [name for name in facet if not name.startswith("test_")]
    assert names
    assert all(get_op(name).name == name for name in names)
