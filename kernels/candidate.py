"""One way to compute an op: what it needs, what it costs, and the function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from dtrain.base.layout import PLAIN, Layout
from dtrain.kernels.array_module import Array
from dtrain.kernels.features import INSTRUCTION_SETS
from dtrain.kernels.problem import Problem

KernelFunction = Callable[..., Any]  # writes into `out`; only kernels of dynamic ops return their results
Binder = Callable[..., Callable[[], Any]]  # of the same arguments
# What speaks against a kernel for a problem, in words, or None.
Condition = Callable[[Problem], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One kernel of one op.

    function: `(*inputs, out=array or tuple, **attrs)`, which writes into `out`.
    binder: takes the same arguments, checks them, and returns the call without arguments; it keeps the arrays.
    isa: `reference`, `cuda`, or the instruction set that it was compiled for.
    conditions: whoever meets all of them, and has the features of `isa`, can be run.
    cost: about how many vector instructions it issues; only compared among the candidates of one problem.
    workspace: bytes of scratch memory that a call uses. Where there are any, the caller hands them over as `workspace`,
        a u8 array that begins at a multiple of `base.alignment.ALIGNMENT`: planned, or lent (`with_workspace`).
    needs_contiguous: inputs and outputs are C-contiguous.
    layouts: those it takes besides the plain one; laid-out inputs never go to a kernel that does not name theirs.
    quantized: it takes quantized inputs, as the integers they are stored as.
    rounding: how many times as far off as products added one by one it may be; more than 1 where fewer are multiplied.
    is_supported: this processor has the features of `isa`.
    """

    op: str
    name: str
    isa: str
    function: KernelFunction
    binder: Binder | None = None
    conditions: tuple[Condition, ...] = ()
    cost: Callable[[Problem], float] | None = None
    workspace: Callable[[Problem], int] | None = None
    needs_contiguous: bool = False
    layouts: tuple[Layout, ...] = ()
    quantized: bool = False
    rounding: float = 1.0
    is_supported: bool = True

    @property
    def is_reference(self) -> bool:
        """A reference runs on every device, through the array module of its inputs."""
        return self.isa == "reference"

    @property
    def device_kind(self) -> str:
        """`cpu` or `cuda`; a reference counts as `cpu`."""
        return "cuda" if self.isa == "cuda" else "cpu"

    @property
    def features(self) -> frozenset[str]:
        """What the processor must have."""
        return INSTRUCTION_SETS[self.isa].features if self.isa in INSTRUCTION_SETS else frozenset()

    def why_not(self, problem: Problem) -> str | None:
        """Why it cannot compute `problem` on any processor, or None where it can."""
        for type in problem.inputs:
            if type.layout is not PLAIN and type.layout not in self.layouts:
                return f"names no layout {type.layout}"
            if type.element.quantization is not None and not self.quantized:
                return "takes plain numbers"
        for condition in self.conditions:
            objection = condition(problem)
            if objection is not None:
                return objection
        return None

    def usable(self, problem: Problem) -> bool:
        """Whether it computes `problem` on a processor that has its features."""
        return self.why_not(problem) is None

    def estimated_cost(self, problem: Problem) -> float:
        """Its own estimate, or the vectors that hold what is read and written."""
        if self.cost is not None:
            return self.cost(problem)
        vector = INSTRUCTION_SETS[self.isa].vector_bytes if self.isa in INSTRUCTION_SETS else 1
        return problem.nbytes / vector

    def workspace_nbytes(self, problem: Problem) -> int:
        """Bytes of scratch memory that a call on `problem` uses."""
        return 0 if self.workspace is None else self.workspace(problem)

    def bind(
        self, inputs: Sequence[Array], out: Any, attrs: dict[str, Any], workspace: Array | None = None
    ) -> Callable[[], Any]:
        """The call on these arrays, for a run that makes it again and again."""
        bind = self.binder or partial(partial, self.function)
        if workspace is None:
            return bind(*inputs, out=out, **attrs)
        return bind(*inputs, out=out, workspace=workspace, **attrs)
