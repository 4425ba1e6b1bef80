"""Kinds of faults in data parallelism, told by what a shrunken program cannot do without."""

from __future__ import annotations

from programs.judge import Outcome
from programs.program import Program, is_norm

KINDS = (
    "equal nets share the memory of a bucket",
    "a gradient has a part that sync-BN did not sum",
    "a pass has the weight of another forward",
    "parameters change after wrapping",
    "the model goes on without its wrapper",
    "waiting gradients have the wrong weight",
    "a weight overflows a short float",
    "one reduction reads what another one gives",
    "other",
)


def fault_of(program: Program, outcome: Outcome) -> str:
    """One of KINDS for a shrunken program: the first whose features it has, rare ones before common ones."""
    kinds = {event.kind for event in program.events}
    if kinds & {"copy", "pickle", "inner"}:
        return KINDS[4]
    if kinds & {"freeze", "unfreeze", "late", "replace"} or any(net.frozen for net in program.nets):
        return KINDS[3]
    if any(one.no_sync for one in program.passes):
        return KINDS[5]
    if outcome.text.startswith("GraphError"):
        return KINDS[7]
    if program.dtype in ("f16", "bf16"):
        return KINDS[6]
    borrowed = any(layer.kind in ("gamma", "shared", "energy") for layer in program.layers())
    if any(map(is_norm, program.layers())) and (borrowed or any(program.penalties())):
        return KINDS[1]
    wrapped = [net for net in program.nets if net.wrapped]
    if program.traced and len(wrapped) == 2 and wrapped[0].layers == wrapped[1].layers:
        return KINDS[0]
    if len(list(program.terms())) > 1 or any(term.evaluated for term in program.terms()):
        return KINDS[2]
    return KINDS[8]
