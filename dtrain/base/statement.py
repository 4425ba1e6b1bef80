"""Whether a call stands alone: `all_reduce(x)` as a statement, whose result nobody takes.

PyTorch's collectives change their tensor and return nothing; ours return a new tensor. A call that drops the result
can only mean the first, so it must not be lost without a word.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from types import CodeType, FrameType

from dtrain.base.user_source import user_frame

_JUMPS = ("JUMP_FORWARD", "JUMP_ABSOLUTE")
_PASSED = ("NOP", "CACHE", "EXTENDED_ARG")


def is_statement() -> bool:
    """Whether the innermost call made outside of dtrain drops its result."""
    frame = user_frame()
    # `[all_reduce(x) for x in xs]` as a statement drops a list of results.
    while frame is not None and frame.f_code.co_name == "<listcomp>" and _next(frame) == "LIST_APPEND":
        frame = frame.f_back
    return frame is not None and _next(frame) == "POP_TOP"


def _next(frame: FrameType) -> str:
    return _next_instruction(frame.f_code, frame.f_lasti)


@lru_cache(maxsize=1024)
def _next_instruction(code: CodeType, call: int) -> str:
    """What is done with what the instruction at offset `call` leaves on the stack."""
    import dis

    instructions = {instruction.offset: instruction for instruction in dis.get_instructions(code)}
    offsets = sorted(instructions)
    position = bisect_right(offsets, call)  # `call` may lie among the caches behind the instruction
    while position < len(offsets):
        instruction = instructions[offsets[position]]
        if instruction.opname in _JUMPS:
            position = offsets.index(instruction.argval)
        elif instruction.opname in _PASSED:
            position += 1
        else:
            return instruction.opname
    return ""
