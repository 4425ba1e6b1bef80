"""What a program calls while it runs: one rank's view of it, or that of the one process with the whole batch.

A program is a function of a `Run`. On one process `Run.data_parallel` gives back the model itself, or, where every rank
has statistics or random numbers of its own, a model that takes the parts of the batch one by one as the ranks would.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

import dtrain as dt
import dtrain.functional as F
from dtrain import collectives as dist
from dtrain import nn
from dtrain.autograd.backward_pass import grad
from dtrain.checkpoint import load_checkpoint, save_checkpoint
from dtrain.core.random import Generator, default_generator
from programs.program import WIDTH


@dataclass(kw_only=True)
class Result:
    """What a rank has at the end of a stretch: numbers in f64, and bytes of what must be equal on all ranks."""

    values: dict[str, np.ndarray | None] = field(default_factory=dict)
    raw: dict[str, bytes] = field(default_factory=dict)
    losses: list[tuple[float, int, int]] = field(default_factory=list)  # value, samples of this rank, of all ranks
    outputs: list[np.ndarray] = field(default_factory=list)


@dataclass(kw_only=True)
class Run:
    """One rank's view of a stretch [first, last) of the steps. `size` is 0 for the process that judges the ranks."""

    rank: int
    size: int
    dtype: str
    seed: int
    by_parts: bool = False
    first: int = 0
    last: int = 10**6
    path: str = ""
    result: Result = field(default_factory=Result)

    # Models ---------------------------------------------------------------------------------------------------------

    def data_parallel(self, net: nn.Module, **options: Any) -> Any:
        """The model to train: on ranks the data-parallel one."""
        if self.size:
            return dist.data_parallel(net, **options)
        return InParts(net, self.seed) if self.by_parts else net

    def inner(self, model: Any) -> Any:
        """The net inside of a model that `data_parallel` gave."""
        return getattr(model, "module", model)

    def without_wrapper(self, model: Any) -> Any:
        """The net inside of the data-parallel model, to be trained in its place."""
        return model.module if self.size and hasattr(model, "module") else model

    def trace(self, step: Any) -> Any:
        """The step as a traced function, also anew; one process stays eager."""
        return dt.trace(getattr(step, "__wrapped__", step)) if self.size else step

    def no_sync(self, *models: Any) -> contextlib.ExitStack:
        """`no_sync` of all these models that have it."""
        stack = contextlib.ExitStack()
        for model in models:
            if hasattr(model, "no_sync"):
                stack.enter_context(model.no_sync())
        return stack

    def tokens(self, y: Any) -> Any:
        """Class numbers, about a third of them to be ignored."""
        return F.where(y[:, 0] > -0.4, F.argmax(y, 1), F.full((len(y),), -100, dtype="s64"))

    def counted(self, y: Any) -> Any:
        """Forward passes inside count by the tokens that are not ignored."""
        return dist.batch_weight((y[:, 0] > -0.4).to("s64").sum()) if self.size > 1 else contextlib.nullcontext()

    def constant(self, output: Any) -> Any:
        """The output of a model without its history."""
        detached = output.detach()
        if (parts := _Streams.parts_of(output)) is not None:
            _Streams.divide(detached, parts)
        return detached

    def evaluate(self, model: Any) -> None:
        """Note what the model says in evaluation to five samples that all ranks have."""
        x = np.random.default_rng(self.seed).standard_normal((5, WIDTH))
        model.eval()
        with dt.no_grad():
            self.result.outputs.append(_wide(model(dt.tensor(x).to(self.dtype))))
        model.train()

    # Parameters -----------------------------------------------------------------------------------------------------

    def trained(self, *nets: nn.Module) -> list[Any]:
        """The parameters of the nets that require gradients, each once."""
        found = {p: None for net in nets for p in net.parameters() if p.requires_grad}
        return list(found)

    def adopt(self, optimizer: Any, *nets: nn.Module) -> None:
        """Let the optimizer update those that it does not know yet."""
        new = [p for p in self.trained(*nets) if p not in optimizer.state]
        if new:
            optimizer.add_param_group({"params": new})

    def parameter(self, value: float, dtype: str) -> Any:
        """A scale for all features."""
        return dt.Parameter(dt.full((WIDTH,), value, dtype=dtype))

    def freeze(self, layer: Any) -> None:
        """No gradients for a layer or parameter from now on, and none left from before."""
        self.forget(layer)
        layer.requires_grad_(False)

    def forget(self, layer: Any) -> None:
        """Forget the gradients of a layer or parameter."""
        for p in layer.parameters() if isinstance(layer, nn.Module) else [layer]:
            p.grad = None

    def unfreeze(self, layer: Any) -> None:
        """Gradients again."""
        layer.requires_grad_(True)

    def zero_grad(self, *nets: nn.Module) -> None:
        """Forget the gradients of all nets."""
        for net in nets:
            net.zero_grad()

    def set_grad(self, loss: Any, *nets: nn.Module) -> None:
        """Add the gradients of a loss to those of all parameters, without backward()."""
        parameters = self.trained(*nets)
        for p, gradient in zip(parameters, grad(loss, parameters, allow_unused=True)):
            if gradient is not None:
                p.grad = gradient if p.grad is None else p.grad + gradient

    # Steps ----------------------------------------------------------------------------------------------------------

    def steps(self, sizes: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """(number, sizes) of the steps of this stretch; every rank has random numbers of its own from here on."""
        dt.seed(self.seed, rank=self.rank)
        for i, step in enumerate(sizes):
            if self.first <= i < self.last:
                yield i, step

    def batch(self, number: int, *sizes: tuple[int, ...] | int) -> list[Any]:
        """x and y of each batch: this rank's part of it, or all of it where only the number of samples is given."""
        tensors = []
        for column, parts in enumerate(sizes):
            total = parts if isinstance(parts, int) else sum(parts)
            random = np.random.default_rng([self.seed, number, column])
            x, y = random.standard_normal((2, total, WIDTH))
            if self.size and not isinstance(parts, int):
                begin = sum(parts[: self.rank])
                x, y = (array[begin : begin + parts[self.rank]] for array in (x, y))
            tensors += [dt.tensor(array).to(self.dtype) for array in (x, y)]
            if not self.size and isinstance(parts, tuple):
                _Streams.divide(tensors[-2], parts)
        return tensors

    def note(self, losses: Sequence[Any], *sizes: tuple[int, ...] | int | None) -> None:
        """Keep the losses of a step, each with its samples on this rank and in all; None for those without."""
        for loss, parts in zip(losses, sizes, strict=True):
            if parts is None:
                continue
            total = parts if isinstance(parts, int) else sum(parts)
            mine = parts[self.rank] if self.size and not isinstance(parts, int) else total
            self.result.losses.append((float(loss), mine, total))

    # Between stretches and at the end -------------------------------------------------------------------------------

    def load(self, optimizer: Any, *models: Any) -> None:
        """Go on where the stretch before this one has saved."""
        if self.size and self.first:
            found = load_checkpoint(self.path, model=models[0], optimizer=optimizer, random=False)
            for model, state in zip(models[1:], found["extra"] or []):
                model.load_state_dict(state)

    def save(self, optimizer: Any, *models: Any) -> None:
        """Save for the next stretch; rank 0 writes."""
        if self.size and not self.first:
            others = [model.state_dict() for model in models[1:]]
            save_checkpoint(self.path, model=models[0], optimizer=optimizer, extra=others, rank=self.rank)

    def state(self, *nets: nn.Module) -> Result:
        """Everything to compare: parameters, their gradients, running statistics."""
        for number, net in enumerate(nets):
            for name, p in net.named_parameters():
                self._keep(f"{number}.{name}", p)
                self._keep(f"{number}.{name} (gradient)", p.grad)
            for name, buffer in net.named_buffers():
                self._keep(f"{number}.{name}", buffer)
        return self.result

    def _keep(self, name: str, tensor: Any) -> None:
        self.result.values[name] = None if tensor is None else _wide(tensor)
        self.result.raw[name] = b"" if tensor is None else tensor.numpy().tobytes()


class InParts(nn.Module):
    """Takes the parts of a batch one by one, each with the random numbers of its rank, and joins the outputs.

    Running statistics are those of the first part, as rank 0's are those of all ranks.
    """

    def __init__(self, module: nn.Module, seed: int) -> None:
        self.module = module
        self.seed = seed
        _Streams.forget()

    def state_dict(self, prefix: str = "") -> dict[str, Any]:
        return self.module.state_dict(prefix)

    def load_state_dict(self, state: Any) -> Any:
        return self.module.load_state_dict(state)

    def forward(self, x: Any) -> Any:
        if (parts := _Streams.parts_of(x)) is None:
            return self.module(x)
        outputs, begin = [], 0
        statistics: dict[str, np.ndarray] = {}
        for rank, count in enumerate(parts):
            if count:
                with _Streams.of_rank(rank, self.seed):
                    outputs.append(self.module(x[begin : begin + count]))
            begin += count
            if rank == 0:
                statistics = {name: buffer.numpy().copy() for name, buffer in self.module.named_buffers()}
        for name, buffer in self.module.named_buffers():
            buffer.numpy()[...] = statistics[name]
        joined = F.concat(outputs)
        _Streams.divide(joined, parts)
        return joined


class _Streams:
    """For one process that plays the ranks of one program: their random numbers, and how batches are divided."""

    of: ClassVar[dict[int, Generator]] = {}
    divided: ClassVar[dict[int, tuple[Any, tuple[int, ...]]]] = {}

    @classmethod
    def forget(cls) -> None:
        cls.of.clear()
        cls.divided.clear()

    @classmethod
    def divide(cls, tensor: Any, parts: tuple[int, ...]) -> None:
        """Remember a batch; it is held, so that its id stays its own."""
        cls.divided[id(tensor)] = (tensor, parts)

    @classmethod
    def parts_of(cls, tensor: Any) -> tuple[int, ...] | None:
        return cls.divided[id(tensor)][1] if id(tensor) in cls.divided else None

    @classmethod
    @contextlib.contextmanager
    def of_rank(cls, rank: int, seed: int) -> Iterator[None]:
        mine = cls.of.setdefault(rank, Generator.of_rank(seed, rank))
        default_generator().load_state_dict(mine.state_dict())
        yield
        mine.load_state_dict(default_generator().state_dict())


def _wide(tensor: Any) -> np.ndarray:
    return np.array(tensor.numpy(), np.float64)
