"""Calls whose result nobody takes, in every form that Python has; and in the bytecode of its later versions."""

from __future__ import annotations

import collections
import contextlib
import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dtrain.base import statement
from dtrain.base.statement import Step, fate

FOUND: list[bool] = []
_PROBE = "def call():\n    FOUND.append(is_statement())\n    return 7\n"
# A function of ours, as far as frames can tell.
_ours: dict[str, Any] = {"__name__": "dtrain.probe", "FOUND": FOUND, "is_statement": statement.is_statement}
exec(_PROBE, _ours)
call: Callable[[], Any] = _ours["call"]


def returning() -> Any:
    return call()


def returning_twice() -> Any:
    return returning()


def returning_inside() -> Any:
    for _ in range(2):
        with contextlib.nullcontext():
            try:
                return call()
            finally:
                len("what is done on the way out")
    return None


named = lambda: call()  # noqa: E731

DROPPED = (
    "call()",
    "returning()",
    "returning_twice()",
    "returning_inside()",
    "named()",
    "call() if FOUND is not None else None",
    "1 and call()",
    "[call() for _ in range(2)]",
    "{call() for _ in range(2)}",
    "{key: call() for key in range(2)}",
    "[[call() for _ in range(2)] for _ in range(2)]",
    "[call() for _ in range(2) for _ in range(2) if call]",
    "[returning() for _ in range(2)]",
    "call(), call()",
    "[call(), returning()]",
    "{call(), 1}",
    "list(map(lambda _: call(), range(2)))",
    "functools.partial(call)()",
    "collections.deque((call() for _ in range(2)), maxlen=0)",
    'eval("call()")',
    'exec("call()")',
    'exec(compile("call()", "an interactive line", "single"))',
    "threading.Thread(target=named).run()",
)

TAKEN = (
    "x = call()",
    "x = [call() for _ in range(2)]",
    "x = returning_inside()",
    "x = returning_twice(), call()",
    "x, y = call(), call()",
    "x = y = call()",
    "(x := call())",
    "call() + 1",
    "1 + call()",
    "call().bit_length()",
    "str(call())",
    "[].append(call())",
    'f"{call()}"',
    "assert call() == 7",
    "if call(): pass",
    "call() or 1",
    "any(call() is None for _ in range(2))",
    "sorted([2, 1], key=lambda _: call())[0] + 1",
    "{call(): 1}",
    "[].extend([call() for _ in range(2)])",
    "(lambda taken: taken)(returning_inside())",
    "[*map(lambda _: call(), range(2))][0] + 1",
    "for x in (call() for _ in range(2)): pass",
    "for x in [call()]: pass",
    "while call() < 7: pass",
    "del [call()][0]",
)


def run(line: str, *, in_function: bool) -> set[bool]:
    FOUND.clear()
    names = {**globals(), "collections": collections, "functools": functools, "threading": threading}
    if in_function:
        exec(f"def function():\n    {line}\nfunction()", names)
    else:
        exec(line, names)
    return set(FOUND)


@pytest.mark.parametrize("in_function", [True, False])
@pytest.mark.parametrize("line", DROPPED)
def test_nobody_takes_the_result(line: str, in_function: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line, in_function=in_function) == {True}


@pytest.mark.parametrize("in_function", [True, False])
@pytest.mark.parametrize("line", TAKEN)
def test_somebody_takes_the_result(line: str, in_function: bool) -> None:
    assert run(line, in_function=in_function) == {False}


def test_a_comprehension_in_a_long_function() -> None:
    """Arguments beyond 255 are written with an instruction before."""
    many = "\n    ".join(f"name{number} = {number}" for number in range(300))
    for line, wanted in (("[call() for last in range(2)]", True), ("name1 = [call() for last in range(2)]", False)):
        FOUND.clear()
        exec(f"def function():\n    {many}\n    {line}\nfunction()", {**globals()})
        assert set(FOUND) == {wanted}


# Python 3.12 and later: comprehensions have no frame of their own. What stands behind the call, as `dis` documents it.
def loop_end(version: int) -> list[Step]:
    """How a comprehension leaves its loop: the iterator goes, and the variable gets back what it was."""
    after_for = {
        12: [Step("END_FOR", effect=-2)],
        13: [Step("END_FOR", effect=-1), Step("POP_TOP", effect=-1)],
        14: [Step("END_FOR", effect=-1), Step("POP_ITER", effect=-1)],
    }
    return after_for[version]


def comprehension(version: int, append: str = "LIST_APPEND", size: int = 1) -> list[Step]:
    """FOR_ITER, STORE_FAST, the call (steps 0 to 2), and the rest up to where the list alone is left."""
    return [
        Step("FOR_ITER", effect=1, target=5),
        Step("STORE_FAST", effect=-1),
        Step("CALL", effect=-1),
        Step(append, 2, -size),
        Step("JUMP_BACKWARD", target=0),
        *loop_end(version),
        Step("SWAP", 2),
        Step("STORE_FAST", effect=-1),
    ]


ENDS = {
    "dropped": [Step("POP_TOP", effect=-1), Step("LOAD_CONST", effect=1), Step("RETURN_VALUE", effect=-1)],
    "returned": [Step("RETURN_VALUE", effect=-1)],
    "taken": [Step("STORE_FAST", effect=-1)],
}


@pytest.mark.parametrize("version", [12, 13, 14])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(("append", "size"), [("LIST_APPEND", 1), ("SET_ADD", 1), ("MAP_ADD", 2)])
def test_comprehensions_without_frames(version: int, end: Any, append: str, size: int) -> None:
    assert fate([*comprehension(version, append, size), *ENDS[end]], 3, "function") == end


@pytest.mark.parametrize("version", [12, 13, 14])
@pytest.mark.parametrize("end", ENDS)
def test_two_loops_and_conditions_in_a_comprehension(version: int, end: Any) -> None:
    inner_end = 8
    outer_end = inner_end + len(loop_end(version)) + 1
    steps = [
        Step("FOR_ITER", effect=1, target=outer_end),  # 0
        Step("GET_ITER"),
        Step("FOR_ITER", effect=1, target=inner_end),  # 2
        Step("STORE_FAST_LOAD_FAST"),
        Step("POP_JUMP_IF_FALSE", effect=-1, target=2),
        Step("CALL", effect=-1),
        Step("LIST_APPEND", 3, -1),  # 6
        Step("JUMP_BACKWARD", target=2),
        *loop_end(version),
        Step("JUMP_BACKWARD", target=0),
        *loop_end(version),
        Step("SWAP", 3),  # two variables get back what they were
        Step("STORE_FAST_STORE_FAST", effect=-2),
    ]
    assert fate([*steps, *ENDS[end]], 6, "function") == end


@pytest.mark.parametrize("version", [12, 13, 14])
def test_a_comprehension_in_a_comprehension(version: int) -> None:
    inner = comprehension(version)
    shifted = [step._replace(target=step.target + 1) for step in inner]
    end = 1 + len(inner) + 2
    outer = [Step("FOR_ITER", effect=1, target=end), *shifted, Step("LIST_APPEND", 2, -1), Step("JUMP_BACKWARD")]
    for wanted, last in ENDS.items():
        assert (
            fate([*outer, *loop_end(version), Step("SWAP", 2), Step("STORE_FAST", effect=-1), *last], 4, "f") == wanted
        )


@pytest.mark.parametrize(
    ("steps", "wanted"),
    {
        # An interactive line prints the value, from 3.12 by an intrinsic.
        (Step("CALL_INTRINSIC_1 print"), Step("POP_TOP", effect=-1)): "dropped",
        (Step("PRINT_EXPR", effect=-1),): "dropped",
        (Step("CALL_INTRINSIC_1", 5), Step("POP_TOP", effect=-1)): "taken",
        # `with …: return call()`, whose __exit__ is called on the way: 3.10, 3.11 to 3.13, 3.14.
        (
            Step("POP_BLOCK"), Step("ROT_TWO"), Step("LOAD_CONST", effect=1), Step("DUP_TOP", effect=1),
            Step("DUP_TOP", effect=1), Step("CALL_FUNCTION", 3, -3), Step("POP_TOP", effect=-1), Step("RETURN_VALUE"),
        ): "returned",
        (
            Step("SWAP", 2), *[Step("LOAD_CONST", effect=1)] * 3, Step("CALL", 2, -3), Step("POP_TOP", effect=-1),
            Step("RETURN_VALUE"),
        ): "returned",
        (
            Step("SWAP", 3), Step("SWAP", 2), *[Step("LOAD_CONST", effect=1)] * 3, Step("CALL", 3, -4),
            Step("POP_TOP", effect=-1), Step("RETURN_VALUE"),
        ): "returned",
        # Things above the value that nobody ties to it, and things that are tied.
        (Step("LOAD_FAST_BORROW", effect=1), Step("POP_TOP", effect=-1), Step("POP_TOP", effect=-1)): "dropped",
        (Step("LOAD_FAST_LOAD_FAST", effect=2), Step("BINARY_OP", effect=-1), Step("BUILD_TUPLE", 2, -1),
         Step("POP_TOP", effect=-1)): "dropped",
        (Step("LOAD_FAST", effect=1), Step("BINARY_OP", effect=-1), Step("POP_TOP", effect=-1)): "taken",
        (Step("LOAD_FAST", effect=1), Step("COPY", 2), Step("POP_TOP", effect=-1)): "taken",
        (Step("LOAD_ATTR", 1, 1), Step("CALL", 0, -1), Step("POP_TOP", effect=-1)): "taken",
        (Step("YIELD_VALUE"), Step("POP_TOP", effect=-1)): "taken",
        (Step("JUMP_BACKWARD", target=0),): "taken",
        (): "taken",
    }.items(),
)  # fmt: skip
def test_what_stands_behind_a_call(steps: tuple[Step, ...], wanted: str) -> None:
    assert fate(steps, 0, "function") == wanted
