"""Tables of what floors above know of ops: one rule an op, and a second one is an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dtrain.graph.layout_rules import register_layout_rule
from dtrain.graph.op import Op
from dtrain.graph.quantization_rules import register_quantization_rule


@pytest.mark.parametrize("register", [register_layout_rule, register_quantization_rule])
def test_an_op_has_one_rule(register: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    op = Op(name=f"op of {register.__name__}", infer=lambda x: x)

    def rule(*given: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(f"{register.__module__}._RULES", {})
    register(op, rule)
    register(op, rule)
    with pytest.raises(ValueError, match=f"{register.__name__}: expected one rule an op, got a second one for op of"):
        register(op, lambda *given: None)
