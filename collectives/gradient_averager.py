"""Averages the gradients of a model's passes over the ranks of a group.

A pass that began with weight n on each rank gives its parameters Σ uᵣ·gᵣ / Σ nᵣ (`forward_pass` says what u is): the
gradient of the mean over everything that the ranks' weights count. It is one weighted mean of the communicator, in
buckets; nothing is multiplied before it or divided after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtrain.base.device import CPU
from dtrain.collectives.bucket import divide
from dtrain.collectives.context import get_communicator
from dtrain.collectives.forward_pass import ForwardPass
from dtrain.collectives.ops import all_reduce, all_reduce_many
from dtrain.core.context import context, is_tracing
from dtrain.core.tensor import Parameter, Tensor, as_tensor
from dtrain.core.tensor_factory import zeros, zeros_like
from dtrain.functional import where

Named = Sequence[tuple[str, Parameter]]
Gradients = dict[Parameter, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketOptions:
    """The classic controls of packing.

    cap: bytes of a bucket, 0 for one message per gradient. ignore_first: so many gradients, counted from the end of
    the model, where backward begins, stay out of buckets.
    """

    cap: int
    ignore_first: int = 0


class GradientAverager:
    """What a model's passes share: how gradients travel, and those that wait under `no_sync`."""

    def __init__(self, group: str, options: BucketOptions) -> None:
        self.group = group
        self.options = options
        self.unused: list[str] = []
        self._synchronizing = True
        # Whether there ever was a no_sync, which all ranks know alike, and the parameters that had a gradient inside
        # of one. Graphs captured before have to be captured again.
        self._may_wait = False
        self.waiting: frozenset[Parameter] = frozenset()
        # Tensors, so that a pass under no_sync and the synchronized one may be different traced functions: what waits,
        # and how many passes have left something for all of a set of parameters.
        self._pending: Gradients = {}
        self._passes: dict[frozenset[Parameter], Tensor] = {}

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Keep gradients here inside, for the next synchronized backward."""
        self._may_wait = True
        before, self._synchronizing = self._synchronizing, False
        try:
            yield
        finally:
            self._synchronizing = before

    def average(
        self, named: Named, forward_pass: ForwardPass, gradients: Sequence[Tensor | None]
    ) -> list[Tensor | None]:
        """The gradients that the parameters get, from those of this rank: None where no rank has one, or they wait."""
        mine = {parameter: value for (_, parameter), value in zip(named, gradients) if value is not None}
        if context.tracer is not None:
            context.tracer.guard(self, "_synchronizing", self._synchronizing)
        if not self._synchronizing:
            self._keep(self._shares(mine, forward_pass))
            return [None] * len(named)
        if context.tracer is not None:
            context.tracer.guard(self, "waiting", self.waiting)
            context.tracer.guard(self, "_may_wait", self._may_wait)
        waiting = {parameter for _, parameter in named if parameter in self._waiting_now()}
        anywhere = self._used_anywhere(named, waiting.union(mine))
        self.unused = [name for name, parameter in named if parameter not in anywhere]
        # The last layer's gradients are ready first.
        used = [(name, parameter) for name, parameter in reversed(named) if parameter in anywhere]
        averaged = self._with_waiting(used, waiting, mine, forward_pass) if self._may_wait else None
        if averaged is None:
            values = [mine[p] if p in mine else zeros_like(p.detach()) for _, p in used]
            averaged = reduce_packed(
                [name for name, _ in used], values, "mean", self.group, self.options, forward_pass.unit_and_weight
            )
        found = dict(zip([parameter for _, parameter in used], averaged))
        return [found.get(parameter) for _, parameter in named]

    def _used_anywhere(self, named: Named, mine: set[Parameter]) -> set[Parameter]:
        """The parameters that any rank has a gradient for, if this one has those for `mine`.

        While tracing, the graph says it, and ranks compare graphs; eagerly one small message asks.
        """
        if is_tracing():
            return mine
        flags = np.array([parameter in mine for _, parameter in named], np.int32)
        anywhere = get_communicator(self.group).all_reduce(flags, op="max")
        return {parameter for (_, parameter), flag in zip(named, anywhere) if flag}

    # Gradients that wait. They are kept as this rank's part of the pass's mean, u·g / Σ n, so that passes of any
    # weights add up; the sum of the weights is a message of one number a pass.

    def _shares(self, mine: Gradients, forward_pass: ForwardPass) -> Gradients:
        size = get_communicator(self.group).size
        # Smaller by a power of two, so that weights near the largest double have a finite sum; quotients stay the same.
        unit, weight = forward_pass.unit_and_weight(CPU) * 0.5 ** (size - 1).bit_length()
        total = all_reduce(weight, group=self.group)
        if is_tracing():
            share = where(total > 0, unit / where(total > 0, total, 1.0), 1 / size)
            return {
                p: where((share > 0).to(g.device), g * share.to(g.dtype).to(g.device), zeros_like(g))
                for p, g in mine.items()
            }
        fraction = unit.item() / total.item() if total.item() > 0 else 1 / size
        # What a rank of weight 0 holds may be NaN, which 0 would not take away.
        return {p: g * fraction if fraction else zeros_like(g) for p, g in mine.items()}

    def _keep(self, shares: Gradients) -> None:
        self.waiting |= shares.keys()
        passes = self._kept(self._passes, frozenset(shares), lambda: zeros(()))
        passes.assign_(passes + 1.0)
        for parameter, share in shares.items():
            pending = self._pending_of(parameter)
            pending.assign_(pending + share)

    def _waiting_now(self) -> frozenset[Parameter]:
        """The parameters for which a gradient waits; while tracing, those for which one may wait."""
        if is_tracing():
            return self.waiting
        sets = [parameters for parameters, passes in self._passes.items() if passes.item() > 0]
        return frozenset().union(*sets)

    def _pending_of(self, parameter: Parameter) -> Tensor:
        return self._kept(self._pending, parameter, lambda: zeros_like(parameter.detach()))

    def _kept(self, kept: dict[Any, Tensor], key: Any, make: Callable[[], Tensor]) -> Tensor:
        """A tensor that outlives graphs: it has numbers even while tracing."""
        if key not in kept:
            tracer, context.tracer = context.tracer, None
            try:
                kept[key] = make()
            finally:
                context.tracer = tracer
        return kept[key]

    def _with_waiting(
        self, used: Named, waiting: set[Parameter], mine: Gradients, forward_pass: ForwardPass
    ) -> list[Tensor]:
        """The sum over the ranks of what waits and of this pass's parts; nothing waits afterwards."""
        shares = self._shares(mine, forward_pass)
        values = []
        for _, parameter in used:
            kept = self._pending_of(parameter) * 1.0 if parameter in waiting else None
            share = shares.get(parameter)
            both = kept + share if kept is not None and share is not None else kept if share is None else share
            values.append(zeros_like(parameter.detach()) if both is None else both)
        # What waits for a parameter that is frozen by now waits on.
        over = [passes for parameters, passes in self._passes.items() if parameters <= waiting]
        for kept in [*map(self._pending_of, waiting), *over]:
            kept.assign_(zeros_like(kept))
        return reduce_packed([name for name, _ in used], values, "sum", self.group, self.options)


def reduce_packed(
    names: Sequence[str],
    values: Sequence[Tensor],
    op: str,
    group: str,
    options: BucketOptions,
    weight_on: Any = None,
) -> list[Tensor]:
    """All-reduce tensors in buckets of one dtype and device each; the same bits however they are packed.

    Args:
        names: what messages and plans call the tensors; empty ones are no gradients.
        weight_on: device -> the weight for tensors there, for a weighted reduction.
    """
    kinds: dict[Any, list[int]] = {}
    for position, value in enumerate(values):
        kinds.setdefault((value.dtype, value.device), []).append(position)
    # All inputs before all collectives: `pack_all_reduce` merges only what nothing else stands between.
    weights = {kind: None if weight_on is None else weight_on(kind[1]) for kind in kinds}
    reduced = list(values)
    reduce = _reduce_traced if is_tracing() else _reduce_eagerly
    for kind, positions in kinds.items():
        some_names, some = [names[i] for i in positions], [values[i] for i in positions]
        for position, value in zip(positions, reduce(some_names, some, op, group, options, weights[kind])):
            reduced[position] = value
    return reduced


def _reduce_traced(
    names: list[str], values: list[Tensor], op: str, group: str, options: BucketOptions, weight: Tensor | None
) -> list[Tensor]:
    """One all-reduce per tensor; the graph pass `pack_all_reduce` merges them."""
    caps = [0 if i < options.ignore_first else options.cap for i in range(len(values))]
    assert context.tracer is not None
    bunch = len(context.tracer.graph.nodes) + 1  # a number that no other pass of this graph has
    return [
        all_reduce(value, op=op, group=group, label=name, bucket=cap, bunch=bunch, weight=weight)
        for name, value, cap in zip(names, values, caps)
    ]


def _reduce_eagerly(
    names: list[str], values: list[Tensor], op: str, group: str, options: BucketOptions, weight: Tensor | None
) -> list[Tensor]:
    first = options.ignore_first if options.cap else len(values)
    reduced = [
        all_reduce(value, op=op, group=group, label=name, weight=weight)
        for name, value in zip(names[:first], values[:first])
    ]
    rest, labels = values[first:], names[first:]
    for part in divide([value.type.nbytes for value in rest], options.cap):
        some, some_labels = [rest[i] for i in part], [labels[i] for i in part]
        reduced += all_reduce_many(some, op=op, group=group, labels=some_labels, weight=weight)
    return reduced


def weight_of_root(group: str) -> Any:
    """The weight by which a mean is what rank 0 of a group has."""
    weight = 1.0 if get_communicator(group).rank == 0 else 0.0
    return lambda device: as_tensor(np.array([weight, weight])).to(device)
