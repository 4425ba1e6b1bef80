"""What PyTorch refuses, by its database of wrong inputs: refused here in our own words, or listed with a reason."""

from __future__ import annotations

import linecache
import re
from typing import Any

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'dtrain[peers]'")
pytest.importorskip("expecttest", reason="expecttest is not installed: pip install 'dtrain[peers]'")

from dtrain.base.errors import DtrainError
from peers import agreed
from peers.exchange import NotOurs, quietly, to_ours
from peers.judge import NO_SUCH_ARGUMENT
from peers.operators import ours_of
from peers.tally import AGREED, DIFFERENT, EQUAL, MISSING, TALLY, UNLISTED
from peers.test_operators import OURS, shown

pytestmark = pytest.mark.peers
WITH_ERRORS = [info for info in OURS if info.error_inputs_func is not None]
# `expected(...)`: who complains, what it expected, what it got.
WORDED = re.compile(r"^(\[rank \d+/\d+\] )?[\w. ()]+: expected .+, got ", re.DOTALL)


@pytest.mark.parametrize(
    "info", WITH_ERRORS, ids=lambda info: "-".join(filter(None, (info.name, info.variant_test_name)))
)
def test_wrong_inputs_raise_our_own_errors(info: Any) -> None:
    failures = []
    for wrong in quietly(list, quietly(info.error_inputs, "cpu")):
        way, why = refusal(info.name, wrong.sample_input)
        TALLY.note("error inputs", way, f"{info.name}: {why}")
        if way in (DIFFERENT, UNLISTED):
            failures.append(f"{shown(wrong.sample_input)}: {why}; theirs: {wrong.error_regex}")
    if failures:
        pytest.fail("\n".join([f"{len(failures)} of {info.name}", *failures]), pytrace=False)


def refusal(name: str, sample: Any) -> tuple[str, str]:
    """How a wrong input is met. "Equal" is an error of ours."""
    ours = ours_of(name)
    assert ours is not None
    try:
        arguments, keywords = to_ours(((sample.input, *sample.args), dict(sample.kwargs)))
    except NotOurs as error:
        return MISSING, str(error)
    try:
        ours(*arguments, **keywords)
    except Exception as error:
        if isinstance(error, TypeError) and NO_SUCH_ARGUMENT.search(str(error)):
            return MISSING, str(error)
        if is_worded_here(error):
            return EQUAL, ""
        return UNLISTED, f"not an error of ours: {type(error).__name__}: {error}"
    reason = agreed.reason_of(agreed.TAKEN, name, shown(sample))
    return (AGREED, reason) if reason else (DIFFERENT, "taken")


def is_worded_here(error: Exception) -> bool:
    """Whether an error is raised by a statement of ours, in our words; not by NumPy or the interpreter below one."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    assert frame is not None
    file = frame.tb_frame.f_code.co_filename
    line = linecache.getline(file, frame.tb_lineno).strip()
    ours = "site-packages" not in file and line.startswith("raise ")
    # RuntimeError: of values, which are known when a graph runs.
    return (
        ours
        and isinstance(error, (DtrainError, ValueError, TypeError, RuntimeError))
        and bool(WORDED.search(str(error)))
    )
