"""Modules that PyTorch's database makes or calls wrongly: refused here in our own words, or listed with a reason."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'dtrain[peers]'")
pytest.importorskip("expecttest", reason="expecttest is not installed: pip install 'dtrain[peers]'")

from dtrain import nn
from peers import agreed
from peers.exchange import NotOurs, quietly, to_ours
from peers.judge import NO_SUCH_ARGUMENT
from peers.tally import AGREED, DIFFERENT, EQUAL, MISSING, TALLY
from peers.test_error_inputs import is_worded_here
from peers.test_modules import OURS

pytestmark = pytest.mark.peers
WITH_ERRORS = [info for info in OURS if info.module_error_inputs_func]


@pytest.mark.parametrize("info", WITH_ERRORS, ids=lambda info: info.name)
def test_wrong_modules_raise_our_own_errors(info: Any) -> None:
    failures = []
    for wrong in quietly(info.module_error_inputs_func, info, "cpu", torch.float32, False, True):
        given = wrong.module_error_input
        words = f"{given.constructor_input.args}, {given.constructor_input.kwargs}"
        way, why = refusal(info.name, given)
        if way == DIFFERENT and (reason := agreed.reason_of(agreed.TAKEN, info.name, words)):
            way, why = AGREED, reason
        TALLY.note("wrong modules", way, f"{info.name}: {why}")
        failures += [f"{words}: {why}; theirs: {wrong.error_regex}"] if way == DIFFERENT else []
    assert not failures, "\n".join(failures)


def refusal(name: str, given: Any) -> tuple[str, str]:
    """How a module that is made or called wrongly is met. "Equal" is an error of ours."""
    made, called = given.constructor_input, given.forward_input
    try:
        arguments, keywords = to_ours([list(made.args), dict(made.kwargs)])
        inputs = to_ours([list(called.args), dict(called.kwargs)]) if called else None
    except NotOurs as error:
        return MISSING, str(error)
    try:
        ours = getattr(nn, name.rpartition(".")[2])(*arguments, **keywords)
        if inputs is not None:
            ours(*inputs[0], **inputs[1])
    except Exception as error:
        if isinstance(error, TypeError) and (absent := NO_SUCH_ARGUMENT.search(str(error))):
            return MISSING, absent[0]
        return (EQUAL, "") if is_worded_here(error) else (DIFFERENT, f"{type(error).__name__}: {error}")
    return DIFFERENT, "taken"
