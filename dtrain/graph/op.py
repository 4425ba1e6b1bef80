"""What an op is: one record with everything that the framework must know of it, and the registry of all ops.

An op says how types follow from types (`infer`), how gradients flow (`grad`, from
`gradient_of`), which calls exercise it (`calls`).
How it is computed is the business of the kernels of the same name. Array values are positional, static attributes
keyword-only and hashable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from dtrain.base.dtype import FLOATS, DType
from dtrain.base.errors import expected
from dtrain.base.tensor_type import TensorType
from dtrain.kernels.call import Call
from dtrain.kernels.views import VIEWS, View

Types = TensorType | tuple[TensorType, ...]
InferFunction = Callable[..., Types]
GradFunction = Callable[..., tuple[Any, ...]]
GradReads = Literal["all", "others", "none"]


@dataclass(slots=True, kw_only=True, eq=False)
class Op:
    """One primitive operation.

    infer: (*input types, **attrs) -> output type, or a tuple of them; raises ShapeError or DtypeError.
    grad: (tape node, *output gradients) -> one gradient or None per input; None for an op without gradient.
    calls: () -> list of Call, what tests and benchmarks try; a registered op without calls fails the enumeration test.
    dtypes: what its inputs may have; `apply` refuses all others, and the calls are tested with each.
    beside: positions of inputs that have dtypes of their own (class numbers, indices, counters), which `infer` checks.
    promotes: apply casts all inputs to their common dtype first.
    view: the row of its name in `kernels/views.py`; such an op shows the memory of input 0 and needs no kernel.
    aliases: output index -> input index whose memory the kernel may overwrite (the state of an
        update op), or a function of the attributes that gives this.
    saves_outputs: the gradient rule reads the outputs, or those at these positions, so the tape keeps them.
    grad_reads: whose elements the gradient rule reads among the inputs: all; for the gradient of one input only the
        others (as a product); or none, so that they may be overwritten before backward. Views read none.
    partial_grads: the gradient rule takes None for an output that nobody used, instead of zeros.
    checks: raises for some values of its inputs, or a function of their types that says whether it does; such a node
        stays in a graph even where nobody reads its outputs.
    is_collective: talks to other ranks; never removed, merged or reordered against its group.
    is_dynamic: the output shape depends on values; eager only.
    """

    name: str
    infer: InferFunction
    grad: GradFunction | None = None
    calls: Callable[[], list[Call]] | None = None
    dtypes: tuple[DType, ...] = FLOATS
    beside: tuple[int, ...] = ()
    promotes: bool = False
    aliases: dict[int, int] | Callable[[dict[str, Any]], dict[int, int]] = field(default_factory=dict)
    saves_outputs: bool | tuple[int, ...] = False
    grad_reads: GradReads = "all"
    partial_grads: bool = False
    checks: bool | Callable[[Sequence[TensorType]], bool] = False
    is_collective: bool = False
    is_dynamic: bool = False
    dispatch_cache: dict[Any, Any] = field(default_factory=dict, repr=False)
    view: View | None = field(init=False)

    def __post_init__(self) -> None:
        self.view = VIEWS.get(self.name)

    def aliases_of(self, attrs: dict[str, Any]) -> dict[int, int]:
        """Output index -> index of the input that it may overwrite, for these attributes."""
        return self.aliases(attrs) if callable(self.aliases) else self.aliases

    def checks_values(self, types: Sequence[TensorType]) -> bool:
        """Whether some values of inputs of these types make it raise."""
        return self.checks(types) if callable(self.checks) else self.checks

    def __repr__(self) -> str:
        return f"<op {self.name}>"


Rule = TypeVar("Rule", bound=GradFunction)

_OPS: dict[str, Op] = {}


def register_op(op: Op) -> Op:
    """Add an op under its name, which must be new."""
    if op.name in _OPS:
        raise ValueError(f"register_op: expected a new name, got {op.name} again")
    _OPS[op.name] = op
    return op


def gradient_of(*ops: Op) -> Callable[[Rule], Rule]:
    """Let a function be the gradient rule of these ops: rules are written with tensors, floors above the records.

    Raises:
        ValueError: one of them has a rule.
    """

    def set_rule(rule: Rule) -> Rule:
        for op in ops:
            if op.grad is not None and op.grad is not rule:
                raise ValueError(expected(f"gradient rule of {op.name}", "one an op", "a second one"))
            op.grad = rule
        return rule

    return set_rule


def get_op(name: str) -> Op:
    """The op of this name; an unknown name lists its nearest neighbours."""
    try:
        return _OPS[name]
    except KeyError:
        from difflib import get_close_matches

        near = ", ".join(get_close_matches(name, _OPS)) or "no similar name"
        raise KeyError(f"op: expected a registered op, got {name!r} (near: {near})") from None


def all_ops() -> Iterator[Op]:
    """Every registered op, in order of registration."""
    yield from _OPS.values()
