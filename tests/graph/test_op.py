"""Op and its registry."""

from __future__ import annotations

import pytest

from dtrain.graph.op import Op, all_ops, get_op, register_op


def test_an_unknown_op_lists_its_neighbours() -> None:
    with pytest.raises(KeyError, match=r"expected a registered op, got 'matmull' \(near: .*matmul"):
        get_op("matmull")
    with pytest.raises(KeyError, match="no similar name"):
        get_op("zzzzzzzz")


def test_a_name_is_registered_once() -> None:
    before = list(all_ops())
    with pytest.raises(ValueError, match="register_op: expected a new name, got add again"):
        register_op(Op(name="add", infer=lambda x: x))
    assert list(all_ops()) == before


def test_every_op_is_found_by_its_name() -> None:
    assert all(get_op(op.name) is op for op in all_ops())


def test_aliases_may_depend_on_attributes() -> None:
    fixed = Op(name="fixed", infer=lambda x: x, aliases={0: 1})
    computed = Op(name="computed", infer=lambda x: x, aliases=lambda attrs: {0: attrs["n"]})
    assert fixed.aliases_of({}) == {0: 1}
    assert computed.aliases_of({"n": 3}) == {0: 3}


def test_ops_are_compared_by_identity() -> None:
    infer = get_op("add").infer
    assert Op(name="twin", infer=infer) != Op(name="twin", infer=infer)
    assert repr(get_op("add")) == "<op add>"
