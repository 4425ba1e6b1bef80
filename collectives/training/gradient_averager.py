"""Averages the gradients of a model's passes over the ranks of a group.

A pass that began with weight n on each rank gives its parameters Σ uᵣ·gᵣ / Σ nᵣ (`forward_pass` says what u is): the
gradient of the mean over everything that the ranks' weights count. It is one weighted mean of the communicator, in
buckets; nothing is multiplied before it or divided after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from dtrain.base.device import CPU
from dtrain.collectives.ops.collective_ops import all_reduce
from dtrain.collectives.training.bucketed_reduction import BucketOptions, reduce_packed
from dtrain.collectives.training.forward_pass import ForwardPass
from dtrain.collectives.world.context import get_communicator
from dtrain.core.context import context, is_tracing, no_grad
from dtrain.core.listeners import PassListener
from dtrain.core.tensor import Parameter, Tensor
from dtrain.core.tensor_factory import zeros_like
from dtrain.core.tensor_gradient import grad_where_it_lies
from dtrain.functional import where

Named = Sequence[tuple[str, Parameter]]
Gradients = dict[Parameter, Tensor]


class GradientAverager:
    """What a model's passes share: how gradients travel, and whether ranks have parts of their own under `no_sync`.

    Under `no_sync` a pass adds to `grad` size·u·g / Σ n, this rank's part in units in which the mean over the ranks is
    the whole. Whatever else is in `grad` is the same on all ranks, and is its own mean: so the mean of `grad` makes it
    whole, whatever was done to it since. The sum of the weights is a message of one number a pass.

    Attributes:
        unused: names of the parameters without a gradient in the last synchronized pass.
        named: the model's parameters at the last call, frozen ones too.
        has_waiting: whether ranks may have parts of their own in `grad`. All ranks know it alike.
    """

    def __init__(self, group: str, options: BucketOptions) -> None:
        self.group = group
        self.options = options
        self.unused: list[str] = []
        self.named: Named = ()
        self.has_waiting = False
        self._synchronizing = True
        self._taken_in: PassListener | None = None  # the pass that waiting gradients have joined last

    def __getstate__(self) -> dict[str, Any]:
        """For copies, also of one parameter alone: without the others, and in no window of `no_sync`."""
        return {**vars(self), "named": (), "_synchronizing": True, "_taken_in": None}

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Leave gradients as they are on each rank inside, for the next synchronized backward."""
        before = self._read("_synchronizing")
        self._set("_synchronizing", False)
        try:
            yield
        finally:
            self._set("_synchronizing", before)

    def average(
        self, named: Named, forward_pass: ForwardPass, gradients: Sequence[Tensor | None], *, is_whole: bool = True
    ) -> list[Tensor | None]:
        """The gradients that a pass gives the parameters, from those of this rank: None where no rank has one.

        Those that are asked for with `grad()` are averaged also under `no_sync`: they go nowhere to wait.
        """
        mine = {parameter: value for (_, parameter), value in zip(named, gradients) if value is not None}
        backward_pass = context.backward_pass
        if backward_pass is not None and not self._read("_synchronizing"):
            self._set("has_waiting", True)
            size = get_communicator(self.group).size
            parts = {parameter: share * size for parameter, share in self._shares(mine, forward_pass).items()}
            return [parts.get(parameter) for _, parameter in named]
        unused = self.unused
        takes = backward_pass is not None and self._read("has_waiting") and self._taken_in is not backward_pass
        found = (
            self._average_with_waiting(named, mine, forward_pass, backward_pass)
            if takes and backward_pass is not None
            else self._average(named, mine, forward_pass)
        )
        if not is_whole:  # a layer alone says nothing of the others
            self.unused = unused
        return [found.get(parameter) for _, parameter in named]

    def reduce_waiting(self, parameters: Sequence[Parameter]) -> None:
        """Make whole what waits: of all parameters of the model, and of those of these that were its own."""
        if not self._read("has_waiting"):
            return
        with no_grad():
            everyone = self._with_names(parameter for parameter in parameters if self in parameter.reducers)
            held = {parameter: grad_where_it_lies(parameter) for _, parameter in everyone}
            (anywhere,) = self._anywhere(
                everyone, {parameter for parameter, value in held.items() if value is not None}
            )
            used = [(name, parameter) for name, parameter in reversed(everyone) if parameter in anywhere]
            values = [_or_zeros(held[parameter], parameter) for _, parameter in used]
            means = reduce_packed([name for name, _ in used], values, "mean", self.group, self.options)
            for (_, parameter), mean in zip(used, means):
                parameter.grad = mean
            self._set("has_waiting", False)

    # Attributes that graphs depend on, and set when they run.

    def _read(self, name: str) -> Any:
        return getattr(self, name) if context.tracer is None else context.tracer.read(self, name)

    def _set(self, name: str, value: bool) -> None:
        if context.tracer is None:
            setattr(self, name, value)
        else:
            context.tracer.change(self, name, value)

    def _with_names(self, parameters: Iterable[Parameter]) -> list[tuple[str, Parameter]]:
        """The model's parameters, and those of these that it did not have at its last call."""
        names = {parameter: name for name, parameter in self.named}
        return [(name, p) for p, name in {**dict.fromkeys(parameters, ""), **names}.items()]

    def _anywhere(self, named: Named, *here: set[Parameter]) -> list[set[Parameter]]:
        """The parameters for which any rank has something, from those for which this one has.

        While tracing, the graph says it, and ranks compare graphs; eagerly one small message asks.
        """
        if is_tracing():
            return list(here)
        flags = np.array([[parameter in some for _, parameter in named] for some in here], np.int32)
        found = get_communicator(self.group).all_reduce(flags, op="max")
        return [{parameter for (_, parameter), flag in zip(named, row) if flag} for row in found]

    def _average(self, named: Named, mine: Gradients, forward_pass: ForwardPass) -> Gradients:
        (anywhere,) = self._anywhere(named, set(mine))
        self.unused = [name for name, parameter in named if parameter not in anywhere]
        # The last layer's gradients are ready first.
        used = [(name, parameter) for name, parameter in reversed(named) if parameter in anywhere]
        averaged = reduce_packed(
            [name for name, _ in used],
            [_or_zeros(mine.get(parameter), parameter) for _, parameter in used],
            "mean",
            self.group,
            self.options,
            forward_pass.unit_and_weight,
        )
        return dict(zip([parameter for _, parameter in used], averaged))

    def _average_with_waiting(
        self, named: Named, mine: Gradients, forward_pass: ForwardPass, backward_pass: PassListener
    ) -> Gradients:
        """The same, where what waits in `grad` travels together with the gradients of this pass.

        It joins them, and `grad` begins anew. Hooks are to see the gradients of this pass alone: those of parameters
        that have any travel beside what waits. So does what waits for parameters that this pass does not use, or that
        were frozen since its forward, which get none.
        """
        everyone = self._with_names(parameter for _, parameter in named)
        held = {p: grad_where_it_lies(p) for _, p in everyone if p not in backward_pass.replaced}
        waiting = {parameter for parameter, value in held.items() if value is not None}
        used, waiting = self._anywhere(everyone, set(mine), waiting)
        self.unused = [name for name, parameter in named if parameter not in used]
        joint = {parameter for parameter in used & waiting if parameter.requires_grad and not parameter.hooks}
        size, shares = get_communicator(self.group).size, self._shares(mine, forward_pass)
        parts: list[tuple[str, Parameter, bool, Tensor | None]] = []
        for name, parameter in reversed(everyone):
            share, value = shares.get(parameter), held.get(parameter)
            part = None if value is None else value / size
            if parameter in joint:
                parts.append(
                    (name, parameter, True, share if part is None else part if share is None else part + share)
                )
                continue
            if parameter in used:
                parts.append((name, parameter, True, share))
            if parameter in waiting:
                parts.append((name, parameter, False, part))
        values = [_or_zeros(value, parameter) for _, parameter, _, value in parts]
        sums = reduce_packed([name for name, *_ in parts], values, "sum", self.group, self.options)
        found: Gradients = {}
        backward_pass.replaced.update(dict.fromkeys(joint))
        for (_, parameter, is_of_pass, _), total in zip(parts, sums):
            (found if is_of_pass else backward_pass.replaced)[parameter] = total
        self._taken_in = backward_pass
        backward_pass.at_end.append(lambda: self._set("has_waiting", False))
        return found

    def _shares(self, mine: Gradients, forward_pass: ForwardPass) -> Gradients:
        """This rank's part of the pass's mean, u·g / Σ n."""
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


def _or_zeros(gradient: Tensor | None, parameter: Parameter) -> Tensor:
    return zeros_like(parameter.detach()) if gradient is None else gradient
