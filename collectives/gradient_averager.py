"""Averages the gradients of a model over the samples of all ranks, as a listener of every backward pass.

    rank r:  loss_r = mean over its n_r samples          seed of backward: n_r
             n_r·∂loss_r/∂w  ──all-reduce──▶  Σ n_r·∂loss_r/∂w  ──÷ Σ n_r──▶  gradient of the mean over all samples

A rank's weight n_r is in the gradient from the first line of the backward pass on, so that sync-BN, whose backward
sums over ranks on the way, is exact too. Σ n_r rides in the gradient buckets. A thread may train several models (an
adversarial pair, say): the pass is weighed once, and gradients that belong to none of them are given back unweighed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from dtrain.base.device import Device
from dtrain.base.errors import expected
from dtrain.collectives.bucket import divide
from dtrain.collectives.context import get_communicator
from dtrain.collectives.ops import all_reduce, all_reduce_many
from dtrain.core.autograd import Gradients
from dtrain.core.context import context, is_tracing
from dtrain.core.tensor import Parameter, Tensor
from dtrain.core.tensor_factory import full, zeros, zeros_like


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketOptions:
    """The classic controls of packing.

    cap: bytes of a bucket, 0 for one message per gradient. ignore_first: so many gradients, counted from the end of
    the model, where backward begins, stay out of buckets.
    """

    cap: int
    ignore_first: int = 0


class _Samples(threading.local):
    """How many samples the last data-parallel forward of this thread had; None before the first."""

    count: int | None = None


_samples = _Samples()


def note_samples(count: int) -> None:
    """Weigh this thread's backward passes by so many samples from now on."""
    _samples.count = count


class GradientAverager:
    """Weighs backward passes by the rank's samples, and averages the gradients of `named` parameters over a group."""

    def __init__(self, named: Sequence[tuple[str, Parameter]], group: str, options: BucketOptions) -> None:
        # The last layer's gradients are ready first.
        self.named = list(reversed(named))
        self.group = group
        self.options = options
        self.unused: list[str] = []
        # Parameters that ever had a gradient under no_sync. Graphs captured before have to be captured again.
        self.waiting: frozenset[Parameter] = frozenset()
        self._synchronizing = True
        # Tensors, so that a pass under no_sync and the synchronized one may be different traced functions.
        self._pending: dict[Parameter, Tensor] = {}
        self._pending_count = zeros((), dtype="f64")
        self._pending_passes = zeros((), dtype="f64")

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Keep gradients here inside, for the next synchronized backward."""
        for _, parameter in self.named:
            if parameter not in self._pending:
                self._pending[parameter] = zeros_like(parameter.detach())
        before, self._synchronizing = self._synchronizing, False
        try:
            yield
        finally:
            self._synchronizing = before

    # BackwardListener -----------------------------------------------------------------------------------------------

    def before_backward(self, root: Tensor, seed: Tensor) -> Tensor:
        for _, parameter in self.named:
            parameter.gradient_is_global = False  # until a layer of this pass says otherwise
        if _samples.count is None or self is not _averagers()[0]:
            return seed
        return seed * float(_samples.count)

    def after_backward(self, gradients: Gradients) -> Gradients:
        if context.tracer is not None:
            context.tracer.guard(self, "_synchronizing", self._synchronizing)
        mine = {parameter: gradients.pop(parameter) for _, parameter in self.named if parameter in gradients}
        if mine and _samples.count is None:
            raise RuntimeError(
                expected(
                    "data_parallel",
                    "a forward pass through the model that data_parallel returned",
                    "one through the model inside it",
                    "call the returned model: it counts the samples",
                )
            )
        averaged = self._average(mine) if self._synchronizing else self._keep(mine)
        averagers = _averagers()
        if _samples.count and self is averagers[0]:  # the last of them to come here
            owned = {parameter for averager in averagers for _, parameter in averager.named}
            for leaf in [leaf for leaf in gradients if leaf not in owned]:
                gradients[leaf] = gradients[leaf] / float(_samples.count)
        return {**gradients, **averaged}

    def _keep(self, mine: dict[Parameter, Tensor]) -> Gradients:
        if not mine:
            return {}
        self.waiting |= mine.keys()
        for parameter, gradient in mine.items():
            pending = self._pending[parameter]
            pending.assign_(pending + gradient)
        self._pending_count.assign_(self._pending_count + float(_samples.count or 0))
        self._pending_passes.assign_(self._pending_passes + 1.0)
        return {}

    def _average(self, mine: dict[Parameter, Tensor]) -> Gradients:
        """Sum over the ranks in one fixed order of parameters, divide by the samples of all ranks."""
        if context.tracer is not None:
            context.tracer.guard(self, "waiting", self.waiting)
        anywhere = self._used_anywhere(mine)
        if not anywhere:  # another model's pass
            return {}
        mine = {
            **mine,
            **{p: mine[p] + self._pending[p] if p in mine else self._pending[p] * 1.0 for p in self.waiting},
        }
        anywhere |= self.waiting
        used = [(name, parameter) for name, parameter in self.named if parameter in anywhere]
        self.unused = [name for name, parameter in self.named if parameter not in anywhere]
        values = [mine[p] if p in mine else zeros_like(p.detach()) for _, p in used]
        divisors = {key: self._divisor(*key) for key in dict.fromkeys(map(_count_key, values))}
        summed = self._sum([name for name, _ in used], [parameter for _, parameter in used], values)
        if self.waiting:
            for pending in (*self._pending.values(), self._pending_count, self._pending_passes):
                pending.assign_(zeros_like(pending))
        return {
            parameter: value / divisors[_count_key(value)].to(value.dtype)
            for (_, parameter), value in zip(used, summed)
        }

    def _used_anywhere(self, mine: dict[Parameter, Tensor]) -> set[Parameter]:
        """The parameters that any rank has a gradient for.

        While tracing, the graph says it, and ranks compare graphs; eagerly one small message asks.
        """
        if is_tracing():
            return set(mine)
        flags = np.array([parameter in mine for _, parameter in self.named], np.int32)
        anywhere = get_communicator(self.group).all_reduce(flags, op="max")
        return {parameter for (_, parameter), flag in zip(self.named, anywhere) if flag}

    def _divisor(self, tag: str, device: Device) -> Tensor:
        """Samples of all ranks; of an average pass, since k passes are to give the sum of k means.

        The count is one more member of the buckets.
        """
        count, passes = full((), float(_samples.count or 0), dtype=tag, device=device), None
        if self.waiting:
            count, passes = (
                count + self._pending_count.to(tag).to(device),
                1.0 + self._pending_passes.to(tag).to(device),
            )
        total = all_reduce(count, group=self.group, label="samples", bucket=self.options.cap)
        return total if passes is None else total / passes

    def _sum(self, names: list[str], parameters: list[Parameter], values: list[Tensor]) -> list[Tensor]:
        """All-reduce what is not global yet, one dtype after the other."""
        summed = list(values)
        by_dtype: dict[str, list[int]] = {}
        for position, parameter in enumerate(parameters):
            if not parameter.gradient_is_global:
                by_dtype.setdefault(values[position].dtype.tag, []).append(position)
        reduce = self._reduce_traced if is_tracing() else self._reduce_eagerly
        for positions in by_dtype.values():
            reduced = reduce([names[i] for i in positions], [values[i] for i in positions])
            for position, value in zip(positions, reduced):
                summed[position] = value
        return summed

    def _reduce_traced(self, names: list[str], values: list[Tensor]) -> list[Tensor]:
        """One all-reduce per gradient; the graph pass `pack_all_reduce` merges them."""
        caps = [0 if i < self.options.ignore_first else self.options.cap for i in range(len(values))]
        return [all_reduce(v, group=self.group, label=n, bucket=cap) for n, v, cap in zip(names, values, caps)]

    def _reduce_eagerly(self, names: list[str], values: list[Tensor]) -> list[Tensor]:
        first = self.options.ignore_first if self.options.cap else len(values)
        reduced = [all_reduce(v, group=self.group, label=n) for n, v in zip(names[:first], values[:first])]
        rest, labels = values[first:], names[first:]
        for part in divide([value.type.nbytes for value in rest], self.options.cap):
            reduced += all_reduce_many([rest[i] for i in part], group=self.group, labels=[labels[i] for i in part])
        return reduced


def _averagers() -> list[GradientAverager]:
    """Those of this thread, oldest first."""
    return [listener for listener in context.listeners() if isinstance(listener, GradientAverager)]


def _count_key(value: Tensor) -> tuple[str, Device]:
    """Where and in what the samples are counted: f32 is exact up to 16 million, short floats would round them."""
    return "f64" if value.dtype.tag == "f64" else "f32", value.device
