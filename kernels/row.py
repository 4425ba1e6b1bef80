"""What the kernels of one op by one algorithm say alike, whatever their dtype and instruction set: a row of a list.

Rows of compiled kernels stand in `cpu_rows.py`, those of CUDA kernels, which add where their functions are, in
`cuda/table.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dtrain.base.layout import Layout
from dtrain.kernels.candidate import Binder, Candidate, Condition, KernelFunction
from dtrain.kernels.problem import Problem
from dtrain.kernels.registry import signature_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An op, and what its kernels by this algorithm have in common. Fields not listed here are those of `Candidate`.

    by: the algorithm, empty where a list has one way to compute the op.
    asks: what speaks against a problem, beyond its dtypes.
    cost: of an instruction set, the estimate for a problem.
    """

    op: str
    by: str = ""
    asks: tuple[Condition, ...] = ()
    cost: Callable[[str], Callable[[Problem], float]] | None = None
    workspace: Callable[[Problem], int] | None = None
    layouts: tuple[Layout, ...] = ()
    rounding: float = 1.0

    def candidate(
        self,
        tag: str,
        isa: str,
        function: KernelFunction,
        *,
        binder: Binder | None = None,
        is_supported: bool = True,
    ) -> Candidate:
        """The kernel of this row for one dtype (`f32`, or `f16_f32` of T and W) and instruction set."""
        return Candidate(
            op=self.op,
            name="_".join(filter(None, (self.op, tag, self.by, isa))),
            isa=isa,
            function=function,
            binder=binder,
            conditions=(signature_of(self.op).takes(tag), *self.asks),
            cost=None if self.cost is None else self.cost(isa),
            workspace=self.workspace,
            needs_contiguous=True,
            layouts=self.layouts,
            rounding=self.rounding,
            is_supported=is_supported,
        )


def knows_no(*names: str) -> Condition:
    """What kernels ask that do not know these attributes: none of them is set."""

    def condition(problem: Problem) -> str | None:
        unknown = [name for name in names if problem.attrs.get(name)]
        return f"knows no {' and no '.join(unknown)}" if unknown else None

    return condition


def one_shape(problem: Problem) -> str | None:
    """What kernels ask that do not broadcast."""
    return None if len({type.shape for type in problem.inputs}) == 1 else "takes inputs of one shape"


def some_elements(problem: Problem) -> str | None:
    """What kernels ask that do not begin on nothing; also of shapes that nobody has checked yet."""
    sides = (side for type in (*problem.inputs, *problem.outputs) for side in type.shape)
    return None if all(side > 0 for side in sides) else "takes tensors of at least one element"
