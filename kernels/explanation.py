"""Why a problem is computed by the kernel that computes it: every candidate, what speaks against it, what it costs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from dtrain.kernels.candidate import Candidate
from dtrain.kernels.choice import candidates, choose, objection
from dtrain.kernels.features import detected, processor
from dtrain.kernels.measured import times_of
from dtrain.kernels.policy import Policy, current_policy
from dtrain.kernels.problem import Problem
from dtrain.kernels.registry import kernels_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One candidate. `objection` says why it is not usable; `microseconds` are None where nobody measured."""

    name: str
    isa: str
    objection: str | None
    cost: float | None
    microseconds: float | None
    workspace: int
    is_taken: bool

    def __str__(self) -> str:
        if self.objection is not None:
            return f"  {self.name:<44} {self.objection}"
        facts = ["the reference" if self.cost is None else f"cost {self.cost:.4g}"]
        if self.microseconds is not None:
            facts.append(f"measured {self.microseconds:.1f} µs")
        if self.workspace:
            facts.append(f"workspace {self.workspace / 1024:.4g} KiB")
        return f"{'→' if self.is_taken else ' '} {self.name:<44} {', '.join(facts)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A choice. `reason` says what decided; usable candidates come first, in the order of the policy."""

    problem: str
    processor: str
    features: tuple[str, ...]
    policy: Policy
    taken: str
    reason: str
    findings: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        policy = {"order": self.policy.order, "isa": self.policy.isa, "forced": sorted(self.policy.forced)}
        return {**asdict(self), "policy": policy}

    def __str__(self) -> str:
        cap = f", capped by DTRAIN_ISA={self.policy.isa}" if self.policy.isa else ""
        head = [self.problem, f"{self.processor}: {' '.join(self.features) or 'no features known here'}{cap}"]
        usable = [str(finding) for finding in self.findings if finding.objection is None]
        others = [str(finding) for finding in self.findings if finding.objection is not None]
        refused = ["", "not usable:", *others] if others else []
        return "\n".join([*head, "", f"{self.taken} is taken: {self.reason}", *usable, *refused])


def explain(problem: Problem, policy: Policy | None = None) -> Explanation:
    """What `choose` would take for `problem`, and why. Raises as `choose` does."""
    policy = current_policy() if policy is None else policy
    taken = choose(problem, policy)
    usable = candidates(problem, policy)
    listed = kernels_of(problem.op, device_kind=problem.device_kind)
    times = times_of(problem)

    def finding(candidate: Candidate, against: str | None) -> Finding:
        is_counted = against is None and not candidate.is_reference
        return Finding(
            name=candidate.name,
            isa=candidate.isa,
            objection=against,
            cost=candidate.estimated_cost(problem) if is_counted else None,
            microseconds=times.get(candidate.name),
            workspace=candidate.workspace_nbytes(problem) if against is None else 0,
            is_taken=candidate is taken,
        )

    refused = [(candidate, objection(candidate, problem, policy)) for candidate in listed if candidate not in usable]
    return Explanation(
        problem=str(problem),
        processor=processor(),
        features=tuple(sorted(detected())),
        policy=policy,
        taken=taken.name,
        reason=_reason(problem, taken, usable, policy, is_measured=taken.name in times),
        findings=(*(finding(one, None) for one in usable), *(finding(one, against) for one, against in refused)),
    )


def _reason(problem: Problem, taken: Candidate, usable: list[Candidate], policy: Policy, *, is_measured: bool) -> str:
    if taken.name in policy.forced:
        return "DTRAIN_KERNELS forces it"
    if len(usable) == 1:
        return "nothing else is usable"
    if policy.order == "first":
        return "it is the first in the list"
    if policy.order != "cost" and is_measured:
        return "it was measured the fastest"
    unmeasured = "" if policy.order == "cost" else ", as nothing was measured (DTRAIN_KERNELS=measure measures)"
    cost = taken.estimated_cost(problem)
    equal = [one.name for one in usable if one is not taken and one.estimated_cost(problem) == cost]
    if equal:
        return f"nothing costs less, and it comes before {', '.join(equal)}, which costs as much{unmeasured}"
    return f"it costs least{unmeasured}"
