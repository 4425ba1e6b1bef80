"""What one call of a formula computes, and from what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from dtrain.kernels.formula.expression import Apply, Expression, Parameter, Value, parts
from dtrain.kernels.formula.functions import ELEMENTARY, EXACT


@dataclass(frozen=True)
class Kernel:
    """A function of arrays: `inputs` stands in the order of a call."""

    name: str
    inputs: tuple[Value, ...]
    formula: Expression

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The attributes that a call gives, in the order in which the formula reads them first."""
        return tuple(dict.fromkeys(part.name for part in parts(self.formula) if isinstance(part, Parameter)))

    @cached_property
    def is_elementary(self) -> bool:
        """One function of arrays and nothing else, which NumPy has compiled: it walks over gaps, and broadcasts."""
        formula = self.formula
        return isinstance(formula, Apply) and formula.function in ELEMENTARY and formula.arguments == self.inputs

    @cached_property
    def functions(self) -> tuple[str, ...]:
        """What is applied, in order; equal ones to equal arguments once."""
        return tuple(part.function for part in dict.fromkeys(parts(self.formula)) if isinstance(part, Apply))

    @cached_property
    def num_roundings(self) -> int:
        """How many of its functions have results that are rounded."""
        return sum(function not in EXACT for function in self.functions)
