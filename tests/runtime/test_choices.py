"""Kernels are chosen once for a problem, whoever has it."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain.graph.op import get_op
from dtrain.kernels import using
from dtrain.runtime import dispatch


def test_eager_call_capture_and_graph_share_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    choose = dispatch.choose

    def asking(problem):
        asked.append(str(problem))
        return choose(problem)

    monkeypatch.setattr(dispatch, "choose", asking)
    x = dt.ones((3, 1, 7, 11))
    function = dt.trace(lambda x: F.exp(F.exp(x) * 2.0) * 2.0)
    F.exp(x)
    function(x)
    function(x)
    problem = "exp f32[3,1,7,11]@cpu -> f32[3,1,7,11]@cpu"
    assert asked.count(problem) == 1 and len(asked) == len(set(asked))
    with using(isa="reference"):
        F.exp(x)
    assert asked.count(problem) == 2, "another policy may choose another"


def test_what_is_chosen_while_the_policy_changes_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    choose = dispatch.choose

    def slowly(problem):
        found = choose(problem)
        change.enter_context(using(isa="reference"))  # as another thread would
        return found

    x = dt.ones((3, 1, 7, 13))
    with ExitStack() as change:
        with monkeypatch.context() as patched:
            patched.setattr(dispatch, "choose", slowly)
            F.silu(x)
        assert x.type not in {types[0] for types in get_op("silu").dispatch_cache}
        assert dispatch.dispatch(get_op("silu"), (x.type,), {}).kernel.is_reference
