"""Updates of all parameters of a model by an optimizer, with gradients that stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dtrain.bench.parts.part import FLOAT_BYTES, Contestant, Part, Shape
from dtrain.capture.trace import TracedFunction, trace
from dtrain.core.tensor import Parameter, as_tensor
from dtrain.nn.module import Module
from dtrain.optim.optimizer import Optimizer


@dataclass(frozen=True)
class Update(Part):
    """A step of an optimizer.

    Attributes:
        build: makes the model whose parameters are updated.
        optimizer: ours, of parameters.
        peer: PyTorch's, of its module `torch.optim` and of parameters.
        arrays_read, arrays_written: how many for each parameter, with itself, its gradient and the optimizer's state.
    """

    family: str
    size: str
    build: Callable[[], Module]
    optimizer: Callable[[list[Parameter]], Optimizer]
    peer: Callable[[Any, list[Any]], Any]
    arrays_read: int
    arrays_written: int

    @cached_property
    def _shapes(self) -> list[Shape]:
        return [parameter.shape for parameter in self.build().parameters()]

    @cached_property
    def _nbytes(self) -> int:
        return FLOAT_BYTES * sum(int(np.prod(shape)) for shape in self._shapes)

    @property
    def moved(self) -> int:
        return self._nbytes * (self.arrays_read + self.arrays_written)

    @property
    def held(self) -> int:
        return self._nbytes * self.arrays_read

    @property
    def flops(self) -> int:
        return 0

    def _arrays(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each parameter, and of its gradient."""
        rng = np.random.default_rng(0)
        return [(rng.standard_normal(s, np.float32), rng.standard_normal(s, np.float32)) for s in self._shapes]

    def ours(self) -> tuple[TracedFunction[[], None], Contestant]:
        parameters = []
        for value, gradient in self._arrays():
            parameters.append(Parameter(value))
            parameters[-1].grad = as_tensor(gradient)
        optimizer = self.optimizer(parameters)

        def update() -> None:
            optimizer.step()

        traced = trace(update)

        def results() -> list[np.ndarray]:
            traced()
            return [parameter.detach().numpy().copy() for parameter in parameters]

        return traced, Contestant(traced, results)

    def peers(self, torch: Any) -> Mapping[str, Contestant]:
        parameters = []
        for value, gradient in self._arrays():
            parameters.append(torch.nn.Parameter(torch.from_numpy(value)))
            parameters[-1].grad = torch.from_numpy(gradient)
        optimizer = self.peer(torch.optim, parameters)

        def results() -> list[np.ndarray]:
            optimizer.step()
            return [parameter.detach().numpy() for parameter in parameters]

        return {"PyTorch": Contestant(optimizer.step, results)}
