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
    "waiting gradients are not dropped",
    "waiting gradients are left behind",
    "a weight overflows a short float",
    "one reduction reads what another one gives",
    "ranks pack in orders of their own",
    "a net beside the wrapped ones is weighed too",
    "ranks keep other running statistics",
    "a weight cannot be given",
    "other",
)


def fault_of(program: Program, outcome: Outcome) -> str:
    """One of KINDS for a shrunken program: the first whose features it has, rare ones before common ones."""
    (
        equal_nets, parts, other_forward, changed, unwrapped, waiting, kept, left, overflow, chained, orders, beside,
        statistics, weight, other,
    ) = KINDS  # fmt: skip
    if outcome.verdict == "error":
        errors = {"GraphError": chained, "CollectiveMismatchError": orders, "AttributeError": weight}
        found = errors.get(outcome.text.partition(":")[0])
        if found:
            return found
    events = {event.kind for event in program.events}
    if any(one.forgets for one in program.passes):
        return kept
    if program.inside or "hold" in events:
        return left
    if events & {"copy", "pickle", "inner"}:
        return unwrapped
    if events & {"freeze", "unfreeze", "late", "replace"} or any(net.frozen for net in program.nets):
        return changed
    if any(one.no_sync for one in program.passes) or program.waiting:
        return waiting
    if program.dtype in ("f16", "bf16"):
        return overflow
    wrapped = [net for net in program.nets if net.wrapped]
    if len(wrapped) < len(program.nets):
        return beside
    is_lent = any(layer.kind in ("gamma", "shared", "energy") for layer in program.layers())
    if any(map(is_norm, program.layers())):
        if any(net.norm == "plain" for net in wrapped):
            return statistics
        if is_lent or any(program.penalties()):
            return parts
    if program.traced and len(wrapped) == 2 and wrapped[0].layers == wrapped[1].layers and not _has_two_data(program):
        return equal_nets
    if len(list(program.terms())) > 1 or any(term.evaluated for term in program.terms()):
        return other_forward
    return other


def _has_two_data(program: Program) -> bool:
    return len(program.used_data()) > 1
