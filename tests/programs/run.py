"""One program from its text to its outcome."""

from __future__ import annotations

import sys
from types import ModuleType

from programs.judge import Body, Outcome, judged_on_threads
from programs.program import Program
from programs.text import text_of

_MODULE = "program_text"  # pickle finds the classes of a program there


def body_of(program: Program) -> Body:
    """The function that the program's text defines."""
    text = text_of(program)
    without_comparison, _, _ = text.rpartition("\ncompare(")
    module = ModuleType(_MODULE)
    sys.modules[_MODULE] = module
    exec(compile(without_comparison, "program.py", "exec"), module.__dict__)
    body: Body = module.program
    return body


def settings_of(program: Program) -> dict[str, object]:
    """How its ranks are run and judged."""
    return {
        "worlds": program.worlds, "dtype": program.dtype, "seed": program.seed, "by_parts": program.by_parts,
        "resume_at": program.resume_at,
    }  # fmt: skip


def outcome_of(program: Program) -> Outcome:
    """Run on one process and on threads, and compare."""
    return judged_on_threads(body_of(program), **settings_of(program))
