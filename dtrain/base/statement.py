"""Whether a call stands alone: `all_reduce(x)` as a statement, whose result nobody takes.

PyTorch's collectives change their tensor and return nothing; ours return a new tensor. A call that drops the result
can only mean the first, so it must not be lost without a word. The bytecode behind the call says what becomes of the
result: it is followed on the stack, into lists of results, and out of functions that return it.
"""

from __future__ import annotations

import dis
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from types import CodeType
from typing import Literal, NamedTuple

from dtrain.base.user_source import user_frame

Fate = Literal["dropped", "returned", "taken"]

_MAX_STEPS = 1000  # a loop without an end would be followed for ever
_JUMPS = ("JUMP_FORWARD", "JUMP_ABSOLUTE", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT")
# What an interactive line or cell prints is taken by nobody else.
_DROPS = ("POP_TOP", "PRINT_EXPR", "CALL_INTRINSIC_1 print")
_APPENDS = ("LIST_APPEND", "SET_ADD", "MAP_ADD")
_DISPLAYS = ("BUILD_LIST", "BUILD_TUPLE", "BUILD_SET")
_COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>")  # frames of their own before Python 3.12
_LOADS_FROM_TOP = ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "LOAD_SPECIAL")
# These take values off the stack and put nothing there; what is in no list puts one there.
_PUSH_NOTHING = ("STORE_", "DELETE_", "POP_", "PRECALL", "KW_NAMES", "END_FOR", "NOP", "NOT_TAKEN", "RESUME", "SETUP_")


class Step(NamedTuple):
    """One instruction: its name, its argument, the index of the one that it may jump to, and what it does to the depth.

    `effect` is that of going on, except in FOR_ITER, of which only the end of the loop is followed.
    """

    name: str
    argument: int = 0
    effect: int = 0
    target: int = 0


def is_statement() -> bool:
    """Whether the innermost call made outside of dtrain drops its result."""
    frame = user_frame()
    while frame is not None:
        fate = _fate_of_call(frame.f_code, frame.f_lasti)
        if fate != "returned":
            return fate == "dropped"
        frame = frame.f_back
    return False


@lru_cache(maxsize=1024)
def _fate_of_call(code: CodeType, call: int) -> Fate:
    """What becomes of what the instruction at offset `call` leaves on the stack."""
    instructions = [found for found in dis.get_instructions(code) if found.opname not in ("CACHE", "EXTENDED_ARG")]
    offsets = [instruction.offset for instruction in instructions]
    steps = [_step(instruction, offsets) for instruction in instructions]
    # `call` may lie among the caches behind the instruction.
    return fate(steps, bisect_right(offsets, call), code.co_name)


def _step(instruction: dis.Instruction, offsets: list[int]) -> Step:
    name, opcode = instruction.opname, instruction.opcode
    if name == "CALL_INTRINSIC_1" and instruction.arg == 1:
        name = "CALL_INTRINSIC_1 print"
    argument = instruction.arg if opcode >= dis.HAVE_ARGUMENT else None
    effect = dis.stack_effect(opcode, argument, jump=name == "FOR_ITER")
    is_jump = opcode in dis.hasjrel or opcode in dis.hasjabs
    target = bisect_right(offsets, instruction.argval - 1) if is_jump else 0
    return Step(name, instruction.arg or 0, effect, target)


def fate(steps: Sequence[Step], start: int, function: str) -> Fate:
    """What becomes of the value on top of the stack before step `start` of a function.

    A list, tuple, set or dict that it is put into has its fate. A value that anything reads is taken.
    """
    position, above = start, 0  # what lies above the value on the stack
    for _ in range(_MAX_STEPS):
        if position >= len(steps):
            return "taken"
        name, argument, effect, target = steps[position]
        position += 1
        if name in _JUMPS:
            position = target
        elif name == "FOR_ITER" and above:
            position, above = target, above + effect
        elif name in _APPENDS and above == 0:
            if function in _COMPREHENSIONS:
                return "returned"
            above = argument - 1
        elif name == "SWAP" or name.startswith("ROT_"):
            above = _moved(name, argument, above)
        elif above == 0 and name in _DROPS:
            return "dropped"
        elif above == 0 and (name == "RETURN_VALUE" or (name == "YIELD_VALUE" and function == "<genexpr>")):
            return "returned"
        elif name in _DISPLAYS and argument > above:
            above = 0
        elif name in ("COPY", "DUP_TOP"):
            if max(argument, 1) == above + 1:
                return "taken"
            above += 1
        elif _num_read(name, effect) > above:
            return "taken"
        else:
            above += effect
    return "taken"


def _num_read(name: str, effect: int) -> int:
    """How many values an instruction takes off the stack, at most."""
    if name in _LOADS_FROM_TOP:
        return 1 if name != "LOAD_SUPER_ATTR" else 3
    if name.startswith("LOAD_") or name == "PUSH_NULL":
        return 0
    if name == "STORE_FAST_LOAD_FAST":
        return 1
    if name.startswith(_PUSH_NOTHING) or name in _APPENDS:
        return -effect
    return 1 - effect


def _moved(name: str, argument: int, above: int) -> int:
    """What lies above a value after others, or itself, have changed places."""
    if name == "SWAP":
        return {0: argument - 1, argument - 1: 0}.get(above, above)
    count = {"ROT_TWO": 2, "ROT_THREE": 3, "ROT_FOUR": 4}.get(name, argument)  # the top goes below the others
    if above == 0:
        return count - 1
    return above - 1 if above < count else above
