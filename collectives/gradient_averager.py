"""Averages the gradients of a model over the samples of all ranks, as a listener of every backward pass.

    rank r:  loss_r = mean over its n_r samples          seed of backward: n_r
             n_r·∂loss_r/∂w  ──all-reduce──▶  Σ n_r·∂loss_r/∂w  ──÷ Σ n_r──▶  gradient of the mean over all samples

A rank's weight n_r is in the gradient from the first line of the backward pass on, so that sync-BN, whose backward
sums over ranks on the way, is exact too. Σ n_r rides in the gradient buckets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from dtrain.collectives.bucket import divide
from dtrain.collectives.context import get_communicator
from dtrain.collectives.ops import all_reduce, all_reduce_many
from dtrain.core.autograd import Gradients
from dtrain.core.context import is_tracing
from dtrain.core.tensor import Parameter, Tensor
from dtrain.core.tensor_factory import full, zeros_like


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketOptions:
    """The classic controls of packing.

    cap: bytes of a bucket, 0 for one message per gradient. ignore_first: so many gradients, counted from the end of
    the model, where backward begins, stay out of buckets.
    """

    cap: int
    ignore_first: int = 0


class GradientAverager:
    """Weighs backward passes by `count` samples and averages the gradients of `named` parameters over a group."""

    def __init__(self, named: Sequence[tuple[str, Parameter]], group: str, options: BucketOptions) -> None:
        # The last layer's gradients are ready first.
        self.named = list(reversed(named))
        self.group = group
        self.options = options
        self.count = 0
        self.unused: list[str] = []
        self._synchronizing = True
        self._pending: dict[Parameter, Tensor] = {}
        self._pending_count = 0
        self._pending_passes = 0

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
        return seed * float(self.count)

    def after_backward(self, gradients: Gradients) -> Gradients:
        mine = {parameter: gradients.pop(parameter) for _, parameter in self.named if parameter in gradients}
        if self._synchronizing:
            gradients.update(self._average(mine))
        else:
            self._keep(mine)
        return gradients

    def _keep(self, mine: Gradients) -> None:
        for parameter, gradient in mine.items():
            waiting = self._pending[parameter]  # type: ignore[index]
            waiting.assign_(waiting + gradient)
        self._pending_count += self.count
        self._pending_passes += 1

    def _average(self, mine: Gradients) -> Gradients:
        """Sum over the ranks in one fixed order of parameters, divide by the samples of all ranks."""
        # After k passes the sum of k means is wanted, so the count of a pass is the average one.
        passes = 1 + self._pending_passes
        count = (self.count + self._pending_count) / passes
        mine = self._take_pending(mine)
        anywhere = self._used_anywhere(mine)
        used = [(name, parameter) for name, parameter in self.named if parameter in anywhere]
        self.unused = [name for name, parameter in self.named if parameter not in anywhere]
        values = [mine[p] if p in mine else zeros_like(p.detach()) for _, p in used]
        divisors = {tag: self._total_count(tag, count) for tag in sorted({_count_dtype(value) for value in values})}
        summed = self._sum([name for name, _ in used], [parameter for _, parameter in used], values)
        return {
            parameter: value / divisors[_count_dtype(value)].to(value.dtype)
            for (_, parameter), value in zip(used, summed)
        }

    def _take_pending(self, mine: Gradients) -> Gradients:
        if not self._pending_passes:
            return mine
        joined = dict(mine)
        for parameter, waiting in self._pending.items():
            joined[parameter] = joined[parameter] + waiting if parameter in joined else waiting + zeros_like(waiting)
            waiting.assign_(zeros_like(waiting))
        self._pending_count = self._pending_passes = 0
        return joined

    def _used_anywhere(self, mine: Gradients) -> set[Tensor]:
        """The parameters that any rank has a gradient for.

        While tracing, the graph says it, and ranks compare graphs; eagerly one small message asks.
        """
        if is_tracing():
            return set(mine)
        flags = np.array([parameter in mine for _, parameter in self.named], np.int32)
        anywhere = get_communicator(self.group).all_reduce(flags, op="max")
        return {parameter for (_, parameter), flag in zip(self.named, anywhere) if flag}

    def _total_count(self, tag: str, count: float) -> Tensor:
        """Samples over all ranks; one more member of the buckets."""
        local = full((), count, dtype=tag)
        return all_reduce(local, group=self.group, label="samples", bucket=self.options.cap)

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


def _count_dtype(value: Tensor) -> str:
    """Sample counts are exact in f32 up to 16 million; short floats would round them."""
    return "f64" if value.dtype.tag == "f64" else "f32"
