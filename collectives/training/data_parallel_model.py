"""Data parallelism: every rank has the model, each takes its part of the batch, gradients are averaged over samples."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any

from dtrain.base.alignment import aligned
from dtrain.base.errors import ShapeError, expected
from dtrain.capture.structure import flatten
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.memory.bucket import DEFAULT_BUCKET_BYTES
from dtrain.collectives.memory.bucket_pool import pool_of
from dtrain.collectives.public.session import init
from dtrain.collectives.training.bucketed_reduction import BucketOptions
from dtrain.collectives.training.forward_pass import ForwardPass, averaged_by_passes, calling, is_calling
from dtrain.collectives.training.given_weight import present_weight
from dtrain.collectives.training.gradient_averager import GradientAverager
from dtrain.collectives.training.model_tensors import ModelTensors, NamedTensors, WrittenBuffers, make_equal
from dtrain.collectives.training.replication import Replicas, note_passed_on
from dtrain.collectives.world.context import get_communicator, is_initialized
from dtrain.core.context import is_grad_enabled
from dtrain.core.tensor import Parameter, Tensor
from dtrain.core.tensor_gradient import grad_where_it_lies
from dtrain.nn.module import Module

BUCKET_VARIABLE = "DTRAIN_FUSION_THRESHOLD_MB"


class DataParallelBoundary:
    """What every call of a data-parallel model goes through, whoever makes it; copies of the model have their own."""

    is_whole = True

    def __init__(self, averager: GradientAverager) -> None:
        self.averager = averager
        # Parameters and buffers that are equal on all ranks already, and those whose gradients have room.
        self._known: dict[Tensor, None] = {}
        self._with_room: dict[Tensor, None] = {}

    def __getstate__(self) -> dict[str, Any]:
        """For pickles: whoever loads one may be another rank."""
        return {**vars(self), "_known": {}, "_with_room": {}}

    def __deepcopy__(self, memo: dict[int, Any]) -> DataParallelBoundary:
        copied = memo[id(self)] = DataParallelBoundary(deepcopy(self.averager, memo))
        copied._known = dict.fromkeys(deepcopy(tensor, memo) for tensor in self._known)
        return copied

    @property
    def group(self) -> str:
        return self.averager.group

    def call(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not is_initialized() or get_communicator(self.group).size == 1:
            return module.forward_with_hooks(*args, **kwargs)  # loaded by a process that is alone
        found = ModelTensors(module)
        if self.is_whole and any(layer._boundary is None for layer in found.layers):
            self.adopt(found)
        written = WrittenBuffers(found, self.group)
        replicas = self._replicas(found, args, _in_order(module, module.forward, kwargs)) if is_grad_enabled() else None
        with calling(self.averager), nullcontext() if replicas is None else replicas.entered():
            output = module.forward_with_hooks(*args, **kwargs)
        written.take_from_root()
        return output if replicas is None else replicas.leave(output)

    def adopt(self, found: ModelTensors) -> None:
        """Take over a model: it is one averager's from now on, with all its layers."""
        self.averager.named = found.parameters
        for layer in found.layers[1:]:
            if layer._boundary is None or isinstance(layer._boundary, PartBoundary):
                layer._boundary = PartBoundary(self.averager)

    def run(self, module: Module, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call another method of the model: a pass like `call`, if gradients are recorded and it is given a batch."""
        ordered = _in_order(module, method, kwargs)
        tensors = _tensors_in((args, ordered))
        has_weight = present_weight() is not None or bool(tensors and tensors[0].shape)
        replicas = self._replicas(ModelTensors(module), args, ordered) if has_weight and is_grad_enabled() else None
        if replicas is None:
            return method(*args, **kwargs)
        with calling(self.averager), replicas.entered():
            output = method(*args, **kwargs)
        if isinstance(output, Generator | AsyncGenerator | Coroutine):
            if not isinstance(output, AsyncGenerator):
                output.close()
            name, advice = getattr(method, "__name__", "a method"), "return a list, or call it under dt.no_grad()"
            raise TypeError(
                expected("data_parallel", f"{name}() to compute while it is called", type(output).__name__, advice)
            )
        return replicas.leave(output)

    def take_room_of(self, other: DataParallelBoundary) -> None:
        """Go on with the room that was made for a model when it was wrapped before."""
        if other.group == self.group:
            self._with_room = other._with_room

    def make_equal(self, found: ModelTensors) -> None:
        """Give every rank rank 0's parameters and buffers, as far as this has not been done before."""
        named: NamedTensors = [*found.parameters, *found.buffers]
        new = [(name, tensor) for name, tensor in named if tensor not in self._known]
        if new:
            communicator = get_communicator(self.group)
            make_equal(new, communicator)
            for _, tensor in new:
                if isinstance(tensor, Parameter) and self.averager not in tensor.reducers:
                    tensor.reducers = (*tensor.reducers, self.averager)
            self._make_room([tensor for _, tensor in new], communicator)
        self._known = dict.fromkeys(tensor for _, tensor in named)

    def _make_room(self, tensors: Sequence[Tensor], communicator: Communicator) -> None:
        """Let the gradients of compiled graphs lie where all ranks see them."""
        if self.averager.options.bucket_bytes:
            parameters = [tensor for tensor in tensors if isinstance(tensor, Parameter) and tensor.device.is_cpu]
            new = [parameter for parameter in parameters if parameter not in self._with_room]
            self._with_room.update(dict.fromkeys(new))
            pool_of(communicator).grow(communicator, sum(aligned(parameter.type.nbytes) for parameter in new))

    def _replicas(self, found: ModelTensors, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Replicas | None:
        self.make_equal(found)
        done = averaged_by_passes(self.group)
        trained = [(name, parameter) for name, parameter in found.parameters if parameter.requires_grad]
        named = [(name, parameter) for name, parameter in trained if parameter not in done]
        if trained and not named:
            return None  # inside of a pass of a model that this one is a part of
        parameters = [parameter for _, parameter in named]
        weight, samples = _weight_and_samples(args, kwargs)
        if self.is_whole:
            self.averager.named = found.parameters
        forward_pass = ForwardPass(weight, has_samples=samples > 0, group=self.group, parameters=parameters)
        note_passed_on((args, kwargs), forward_pass)
        average = partial(self.averager.average, named, forward_pass, is_whole=self.is_whole)
        return Replicas(parameters, average, forward_pass)


class PartBoundary:
    """What every call of a layer of a data-parallel model goes through, and of the layers in it.

    Inside of a call of the model it is a part of that. Called by somebody else (`model.head(x)`, methods of the model
    inside, functions that a method has returned) it is a pass of its own: it has the weight of what it is given, and
    its gradients are averaged. Without a batch and without gradients it is an ordinary call.
    """

    def __init__(self, averager: GradientAverager) -> None:
        self.averager = averager

    def call(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if is_calling(self.averager) or not is_grad_enabled() or not is_initialized():
            return module.forward_with_hooks(*args, **kwargs)
        if get_communicator(self.averager.group).size == 1:
            return module.forward_with_hooks(*args, **kwargs)
        found = ModelTensors(module)
        tensors = _tensors_in((args, kwargs))
        has_weight = present_weight() is not None or any(tensor.shape for tensor in tensors[:1])
        if not has_weight or not any(parameter.requires_grad for _, parameter in found.parameters):
            return module.forward_with_hooks(*args, **kwargs)
        return _OfPart(self.averager, found).call(module, args, kwargs)


class _OfPart(DataParallelBoundary):
    """One such pass: the model has made its parameters and buffers equal, except for new parameters."""

    is_whole = False

    def __init__(self, averager: GradientAverager, found: ModelTensors) -> None:
        super().__init__(averager)
        old = [parameter for _, parameter in found.parameters if averager in parameter.reducers]
        self._known = dict.fromkeys([*old, *(buffer for _, buffer in found.buffers)])
        self._with_room = dict.fromkeys(old)


def _weight_and_samples(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[float | Tensor, int]:
    """The weight that was given for a pass, else the samples of the first tensor; and how many samples it has."""
    weight = present_weight()
    tensors = _tensors_in((args, kwargs))
    has_batch = bool(tensors) and bool(tensors[0].shape)
    samples = tensors[0].shape[0] if has_batch else 1
    if weight is None and not has_batch:
        given = ", ".join(str(tensor.type) for tensor in tensors) or "no tensor"
        advice = "or say how much it counts: with collectives.batch_weight(number)"
        raise ShapeError(expected("data_parallel", "a tensor with a batch axis as first input", given, advice))
    return float(samples) if weight is None else weight, samples


def _tensors_in(given: Any) -> list[Tensor]:
    tensors, _ = flatten(given, tensors=lambda item: item if isinstance(item, Tensor) else None)
    return list(tensors)


def _in_order(module: Module, method: Callable[..., Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """Keywords in the order in which the method names them; behind these, as written, those that its ** takes.

    Python calls are the same in whatever order keywords are written, so which tensor comes first must be too.
    """
    if len(keywords) < 2:
        return keywords
    while isinstance(module, DataParallel):  # a handle passes everything on
        module = module.module
        method = module.forward
    try:
        named = inspect.signature(method).parameters
    except ValueError:  # a compiled function that does not tell its parameters
        return keywords
    names = {name: None for name in named if name in keywords}
    return {name: keywords[name] for name in {**names, **keywords}}


class DataParallel(Module):
    """A model whose backward passes average gradients over the ranks. Made by `data_parallel`.

    It is a handle: the model inside averages by itself, also when it is called directly, copied or loaded from a file.
    Attributes that the handle does not have are those of the model inside (`model.weight`, `model.generate()`), to
    read, set and delete. A method called on the handle is a pass whose gradients are averaged, like a call of the
    model. A layer that is called beside it (`model.head(x)`, in a method of `model.module`, in a function that a method
    returns) is a pass of its own, with the weight of what it is given. What reads parameters without a layer there,
    such as a penalty, gives them the gradient of each rank's own loss. In a world of one it is the same handle, around
    a model that has nothing to average.

    Raises:
        TypeError: a method that would compute after its call has ended (a generator) is called with a batch while
            gradients are recorded.
    """

    def __init__(self, module: Module) -> None:
        if not isinstance(module._boundary, DataParallelBoundary):
            advice = "call collectives.data_parallel(module)"
            raise TypeError(
                expected("DataParallel", "a model that data_parallel has made", type(module).__name__, advice)
            )
        self.module = module
        self.boundary: DataParallelBoundary | None = module._boundary

    @classmethod
    def in_a_world_of_one(cls, module: Module) -> DataParallel:
        """The handle around a model that has nothing to average."""
        handle = cls.__new__(cls)
        handle.module, handle.boundary = module, None
        return handle

    def forward(self, *inputs: Any, **options: Any) -> Any:
        if self.boundary is not None:  # another module may have been put in its place
            self.module._boundary = self.boundary
        return self.module(*inputs, **options)

    if not TYPE_CHECKING:  # a type checker would take every name for one of the model's

        def __getattr__(self, name: str) -> Any:
            module = vars(self).get("module")  # there is none yet while a copy is being made
            if module is None or name.startswith("__"):
                raise AttributeError(name)
            value, boundary = getattr(module, name), vars(self).get("boundary")
            if boundary is None or getattr(value, "__self__", None) is not module or hasattr(Module, name):
                return value
            return partial(boundary.run, module, value)

        def __setattr__(self, name: str, value: Any) -> None:
            if self._is_own(name):
                super().__setattr__(name, value)
            else:
                setattr(self.module, name, value)

        def __delattr__(self, name: str) -> None:
            if self._is_own(name):
                super().__delattr__(name)
            else:
                delattr(self.module, name)

    def _is_own(self, name: str) -> bool:
        """Whether an attribute is read from the handle, and so set there."""
        return name in ("module", "boundary") or name in vars(self) or hasattr(type(self), name)

    def register_buffer(self, name: str, tensor: Tensor | None, *, persistent: bool = True) -> None:
        """Make attribute `name` of the model inside a buffer."""
        self.module.register_buffer(name, tensor, persistent=persistent)

    def no_sync(self) -> AbstractContextManager[None]:
        """Accumulate without sending gradients: they wait in `grad`, and join the next synchronized backward.

        Until then `grad` has this rank's own part, such that the mean over the ranks is the sum of the passes' means.
        Clipping and optimizer steps average it first. Ranks make the same number of passes, with any weights: each pass
        exchanges one number, the sum of its weights.
        """
        return nullcontext() if self.boundary is None else self.boundary.averager.no_sync()

    def named_modules(self, prefix: str = "", _seen: set[Module] | None = None) -> Iterator[tuple[str, Module]]:
        """The model inside and all below it: parameters, buffers and layers have the names that the state has."""
        return self.module.named_modules(prefix, _seen)

    @property
    def unused_parameters(self) -> list[str]:
        """Names of the parameters that no rank had a gradient for in the last synchronized backward."""
        if self.boundary is None:  # what the last backward has left without one
            return [
                name for name, p in self.module.named_parameters() if p.requires_grad and grad_where_it_lies(p) is None
            ]
        return self.boundary.averager.unused

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """The state of the model itself, so that checkpoints fit with and without data parallelism."""
        return self.module.state_dict(prefix)

    def load_state_dict(self, state: Mapping[str, Any], **options: Any) -> Any:
        """Load the state of the model itself, or one that a wrapper of PyTorch has saved as `module.…`."""
        if state and all(name.startswith("module.") for name in state):
            own = self.module.state_dict()
            if not any(name.startswith("module.") for name in own):
                state = {name.removeprefix("module."): value for name, value in state.items()}
        return self.module.load_state_dict(state, **options)


def no_sync(model: Module) -> AbstractContextManager[None]:
    """`model.no_sync()`, also of a model that is not data parallel, where nothing is to be left out."""
    return model.no_sync() if isinstance(model, DataParallel) else nullcontext()


def data_parallel(
    module: Module, *, group: str = "world", bucket_mb: float | None = None, ignore_first: int = 0
) -> DataParallel:
    """Train `module` on all ranks of a group: parameters and buffers are made equal once, gradients averaged.

    Gradients count by samples: the first tensor given to the model has the rank's samples on axis 0, and the loss is
    the mean over them. First is what comes first in the parameters of `forward`, also where it is given by keyword.
    Ranks may have different numbers of samples, also none. Where something else is counted, such as tokens,
    `batch_weight` says how many. A term of the loss beside the model, such as a penalty on parameters, is the same on
    every rank and comes to the gradients as it is. Buffers that a call overwrites (running statistics of plain batch
    norm) become rank 0's at its end. In a world of one nothing is averaged.

    Args:
        bucket_mb: largest gradient bucket in MiB, default DTRAIN_FUSION_THRESHOLD_MB or 25; 0 packs nothing.
        ignore_first: keep the first so many gradients of the backward pass out of buckets.

    Raises:
        ShapeError: on every rank, where ranks have built different models.
    """
    communicator = init() if group == "world" else get_communicator(group)
    options = BucketOptions(bucket_bytes=_bucket_bytes(bucket_mb), ignore_first=ignore_first)
    if communicator.size == 1:
        return DataParallel.in_a_world_of_one(module)
    boundary = DataParallelBoundary(GradientAverager(group, options))
    if isinstance(module._boundary, DataParallelBoundary):
        boundary.take_room_of(module._boundary)
    found = ModelTensors(module)
    boundary.make_equal(found)
    boundary.adopt(found)
    module._boundary = boundary
    return DataParallel(module)


def _bucket_bytes(bucket_mb: float | None) -> int:
    text = os.environ.get(BUCKET_VARIABLE, "")
    try:
        chosen = bucket_mb if bucket_mb is not None else float(text) if text else DEFAULT_BUCKET_BYTES / 2**20
    except ValueError:
        chosen = -1.0
    if chosen < 0:
        given = str(bucket_mb) if bucket_mb is not None else f"{BUCKET_VARIABLE}={text}"
        raise ValueError(expected("data_parallel", "a bucket of at least 0 MiB", given))
    return int(chosen * 2**20)
