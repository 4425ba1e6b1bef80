"""One training step on ranks that are threads, compared with one process that has the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import collectives as dist
from dtrain.nn.batch_norm import BatchNorm1d

FEATURES = 4
Step = Callable[[Any, Any, Callable[[int], Any]], Any]


class Net(dt.nn.Module):
    """Two layers around a batch norm, in f64."""

    def __init__(self, seed: int = 0, norm: bool = True) -> None:
        rng = np.random.default_rng(seed)
        self.first = dt.nn.Linear(FEATURES, FEATURES)
        self.norm = BatchNorm1d(FEATURES) if norm else None
        self.last = dt.nn.Linear(FEATURES, 2)
        self.extra = None
        self.to("f64")
        for parameter in self.parameters():
            parameter.assign_(dt.tensor(rng.standard_normal(parameter.shape)))

    def forward(self, x: Any) -> Any:
        x = self.first(x)
        if self.norm is not None:
            x = self.norm(x)
        if self.extra is not None:
            x = x * self.extra
        return self.last(F.tanh(x))


def batches(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, FEATURES))


def mse(y: Any) -> Any:
    return F.square(y - 1.0).mean()


def gradients(module: Any) -> dict[str, np.ndarray | None]:
    return {name: None if p.grad is None else p.grad.numpy().copy() for name, p in module.named_parameters()}


def expect_gradients(found: Any, wanted: Any, *, atol: float = 1e-12) -> None:
    """Each of `wanted` is there, to nine digits; where there is none, there is none in `found` either."""
    for name, value in wanted.items():
        assert (found[name] is None) == (value is None), name
        if value is not None:
            np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=atol, err_msg=name)


def check(
    step: Step,
    sizes: list[list[int]],
    *,
    traced: bool = False,
    build: Callable[[], Any] = Net,
    prepare: Callable[[Any], None] = lambda net: None,
    repeats: int = 1,
) -> None:
    """`step(model, net, part)` on ranks and on one process; `part(i)` is the rank's part of batch i.

    Args:
        sizes: samples by batch and rank.
        prepare: what happens to the net after it was wrapped.
        repeats: how often the step runs, gradients being dropped in between.
    """

    def run(net: Any, model: Any, edges: list[tuple[int, int]]) -> dict[str, np.ndarray | None]:
        wholes = [batches(sum(counts), seed) for seed, counts in enumerate(sizes)]
        parts = [dt.tensor(whole[begin:end]) for whole, (begin, end) in zip(wholes, edges)]
        prepare(net)

        def body(*parts: Any) -> Any:
            return step(model, net, lambda i: parts[i])

        call = dt.trace(body) if traced and isinstance(model, dist.DataParallel) else body
        with np.errstate(all="ignore"):
            for _ in range(repeats):
                net.zero_grad()
                call(*parts)
        return gradients(net)

    def program(communicator: Any) -> dict[str, np.ndarray | None]:
        with dist.using(communicator):
            net = dist.convert_sync_batch_norm(build())
            edges = []
            for counts in sizes:
                begin = sum(counts[: communicator.rank])
                edges.append((begin, begin + counts[communicator.rank]))
            return run(net, dist.data_parallel(net), edges)

    one = build()
    wanted = run(one, one, [(0, sum(counts)) for counts in sizes])
    results = dist.run_threads(len(sizes[0]), program)
    for found in results:
        expect_gradients(found, wanted)
        for name, value in results[0].items():
            if value is not None:
                assert found[name].tobytes() == value.tobytes(), f"{name} differs between ranks"


EAGER_AND_TRACED = pytest.mark.parametrize("traced", [False, True])
