"""Who takes part in `dtrain bench peer_step`: one training step in each of several ways, built from nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from dtrain.base.cuda import placement
from dtrain.base.errors import LaunchError, expected
from dtrain.bench.peer import pytorch
from dtrain.bench.training.torch_models import build_torch
from dtrain.bench.training.workloads import WORKLOADS, training_step
from dtrain.capture.trace import trace
from dtrain.core.tensor import Tensor

Step = Callable[[], Any]
BENCHMARK = "bench peer_step"
EAGER_PEER, COMPILED_PEER = "PyTorch eager", "PyTorch compiled"
CONVOLUTIONAL = ("resnet18", "resnet50", "mobilenet_v2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all contestants train, and where; `size` is pixels a side or tokens of a sample."""

    model: str
    batch_size: int
    size: int
    device: str
    threads: int

    def batch(self) -> tuple[Tensor, Tensor]:
        """The same inputs and labels at each call, on the CPU."""
        return WORKLOADS[self.model].batch(self.batch_size, self.size, seed=0)


def contestants(model: str, *, is_compiled: bool) -> tuple[str, ...]:
    """The names of those that can train this model."""
    left_out = set() if model in CONVOLUTIONAL else {"PyTorch channels-last"}
    return tuple(name for name in _BUILD if name not in left_out and (is_compiled or name != COMPILED_PEER))


def is_peer(contestant: str) -> bool:
    """Whether it is one of PyTorch's."""
    return contestant.startswith("PyTorch")


def build(contestant: str, setting: Setting) -> Step:
    """Its step, with a model, an optimizer and a batch of its own. Raises LaunchError where it cannot take part."""
    return _BUILD[contestant](setting)


def _our_step(setting: Setting, *, is_traced: bool = False) -> Step:
    device = placement(setting.device)
    inputs, labels = (tensor.to(device) for tensor in setting.batch())
    step: Callable[..., Any] = training_step(WORKLOADS[setting.model].build().to(device))
    if is_traced:
        step = trace(step)
    return lambda: step(inputs, labels)


def _torch_step(setting: Setting, *, is_channels_last: bool = False, is_compiled: bool = False) -> Step:
    torch = pytorch(BENCHMARK, setting.threads)
    model = build_torch(setting.model).to(setting.device)
    inputs, labels = (torch.from_numpy(tensor.numpy()).to(setting.device) for tensor in setting.batch())
    if is_channels_last:
        model, inputs = (each.to(memory_format=torch.channels_last) for each in (model, inputs))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    if is_compiled:
        model = compiled(torch, model, inputs, labels)

    def step() -> Any:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def compiled(torch: Any, model: Any, inputs: Any, labels: Any) -> Any:
    """The model compiled, forward and backward. Raises LaunchError that says what is missing for it."""
    try:
        made = torch.compile(model)
        torch.nn.functional.cross_entropy(made(inputs), labels).backward()
    except Exception as error:
        missing = next((words for mark, words in _MISSING.items() if mark in str(error)), None)
        wanted, advice = missing or ("torch.compile to work", "")
        given = "none" if missing else str(error).partition("\n")[0]
        raise LaunchError(expected(f"{BENCHMARK} --compile", wanted, given, advice)) from None
    return made


# What torch.compile's errors name -> what is missing, and what to do.
_MISSING = {
    "InvalidCxxCompiler": ("a C++ compiler for torch.compile", "install g++, or name one in $CXX"),
    "Python.h": ("Python's headers for torch.compile", "install python3-dev or what your system calls it"),
}
_BUILD: dict[str, Callable[[Setting], Step]] = {
    "dtrain traced": partial(_our_step, is_traced=True),
    "dtrain eager": _our_step,
    EAGER_PEER: _torch_step,
    "PyTorch channels-last": partial(_torch_step, is_channels_last=True),
    COMPILED_PEER: partial(_torch_step, is_compiled=True),
}
