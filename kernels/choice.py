"""Which kernel computes a problem: among those that can, the one that the policy puts first."""

from __future__ import annotations

import math
from collections.abc import Mapping

from dtrain.base.dtype import float64
from dtrain.base.errors import DeviceError, DtypeError, LayoutError, expected
from dtrain.base.layout import PLAIN
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.policy import Policy, current_policy
from dtrain.kernels.problem import Problem
from dtrain.kernels.registry import kernels_of, known_names


def choose(problem: Problem, policy: Policy | None = None) -> Candidate:
    """The kernel that computes `problem` under `policy`, by default that of the process.

    Raises:
        DtypeError: no kernel of the op takes these inputs.
        DeviceError: the op has no kernel for this device.
        ValueError: the policy forces a kernel that does not exist.
    """
    policy = current_policy() if policy is None else policy
    ranked = candidates(problem, policy)
    if not ranked:
        raise _nothing_usable(problem)
    if policy.forced:
        _expect_known(policy.forced)
        for candidate in ranked:
            if candidate.name in policy.forced:
                return candidate
    return ranked[0]


def candidates(problem: Problem, policy: Policy | None = None) -> list[Candidate]:
    """The kernels that can compute `problem` here, best first by the order of `policy`, the reference last."""
    policy = current_policy() if policy is None else policy
    listed = kernels_of(problem.op, device_kind=problem.device_kind)
    usable = [candidate for candidate in listed if objection(candidate, problem, policy) is None]
    if len(usable) > 1 and policy.order != "first":
        usable.sort(key=lambda one: (one.is_reference, one.estimated_cost(problem)))
        if policy.order in ("measured", "measure"):
            times = _times(problem, usable, policy)
            usable.sort(key=lambda one: times.get(one.name, math.inf))
    return usable


def _times(problem: Problem, usable: list[Candidate], policy: Policy) -> Mapping[str, float]:
    from dtrain.kernels.measured import measure, times_of  # files and clocks, which most processes never need

    times = times_of(problem)
    missing = [candidate for candidate in usable if candidate.name not in times]
    if policy.order == "measure" and missing and problem.device_kind == "cpu":
        return measure(problem, usable)
    return times


def objection(candidate: Candidate, problem: Problem, policy: Policy) -> str | None:
    """Why `candidate` cannot be taken for `problem` here, in words; None where it can."""
    if not candidate.is_reference:
        if not candidate.is_supported:
            return f"this processor does not run {candidate.isa}"
        if policy.only_references:
            return "DTRAIN_ISA=reference leaves the references only"
        cap = policy.features
        if cap is not None and not candidate.features <= cap:
            return f"needs {', '.join(sorted(candidate.features - cap))}, which DTRAIN_ISA={policy.isa} leaves out"
    why_not = candidate.why_not(problem)
    if why_not is None and candidate.rounding > 1 and candidate.name not in policy.forced:
        further = f"may round {candidate.rounding:g} times as far as products added one by one"
        if any(type.dtype is float64 for type in problem.outputs):
            return f"{further}, which f64 is not asked for"
        if policy.is_accurate:
            return f"{further}: ask for it with DTRAIN_KERNELS=winograd"
    return why_not


def _nothing_usable(problem: Problem) -> Exception:
    listed = kernels_of(problem.op, device_kind=problem.device_kind)
    known = ", ".join(candidate.name for candidate in listed) or "none"
    if listed and any(type.layout is not PLAIN for type in problem.inputs):
        wanted, given = f"a layout that one of its kernels names ({known})", ", ".join(map(str, problem.inputs))
        return LayoutError(expected(problem.op, wanted, given, f"write x.relayout('{PLAIN}') before it"))
    if listed:
        wanted, given = f"inputs that one of its kernels takes ({known})", ", ".join(map(str, problem.inputs))
        return DtypeError(expected(problem.op, wanted, given, "cast the inputs"))
    return DeviceError(expected("dtrain.kernels", f"a kernel for {problem.op} on {problem.device_kind}", known))


def _expect_known(forced: frozenset[str]) -> None:
    known = known_names()
    for name in sorted(forced - known):
        from difflib import get_close_matches

        near = ", ".join(get_close_matches(name, known)) or "no similar name"
        wanted = "an order (cost, first, measured, measure), winograd, or the name of a kernel"
        raise ValueError(expected("DTRAIN_KERNELS", wanted, repr(name), f"names like it: {near}"))
