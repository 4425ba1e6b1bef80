"""Parameters that share their settings, and the batches of them that one update op takes.

The learning rate lives in 0-d tensors, so that changing it neither recompiles a traced step nor costs a pass over the
parameters; every other setting is an attribute of the op, so a change of it invalidates captures through `version`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from dtrain.base.device import Device
from dtrain.base.dtype import DType, float32, float64, int64
from dtrain.base.errors import TraceError, expected
from dtrain.base.tensor_type import tensor_type
from dtrain.core.context import context
from dtrain.core.tensor import Parameter, Tensor
from dtrain.core.tensor_gradient import grad_where_it_lies
from dtrain.kernels.array_module import array_module
from dtrain.kernels.device_arrays import overwrite
from dtrain.runtime.dispatch import current_gpu

# Settings that no op reads: changing them leaves captured steps valid.
_BESIDE_THE_OP = ("lr", "initial_lr", "params")


class ParameterBatch:
    """Parameters of one dtype and device, with their state and a learning-rate cell beside them.

    `step` counts their updates; parameters that are not updated together do not stay in one batch.
    """

    def __init__(self, parameters: list[Parameter], states: list[list[Tensor]], lr: float, num_steps: int = 0) -> None:
        self.parameters = parameters
        self.states = states  # per kind of state, one tensor a parameter
        like = parameters[0]
        self.lr = scalar_beside(like, lr, float64 if like.dtype is float64 else float32)
        self.step = scalar_beside(like, num_steps, int64)

    def split(self, is_active: list[bool], lr: float) -> tuple[ParameterBatch, ParameterBatch]:
        """The active parameters and the rest, each keeping state and step count."""
        return self._part(is_active, lr), self._part([not active for active in is_active], lr)

    def _part(self, wanted: list[bool], lr: float) -> ParameterBatch:
        def chosen(items: list[Any]) -> list[Any]:
            return [item for item, keep in zip(items, wanted) if keep]

        states = [chosen(kind) for kind in self.states]
        return ParameterBatch(chosen(self.parameters), states, lr, int(self.step.array))


class ParameterGroup(dict[str, Any]):
    """The settings of a group by name, `params` among them. Setting `lr` takes effect from the next step on.

    Attributes:
        holdings: ids of the parameters and of their states that the batches were made of.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.version = 0
        self.is_scheduled = False  # whether a schedule of this optimizer sets the rate
        self.batches: list[ParameterBatch] = []
        self.holdings: tuple[int, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        # Settings by the constructor: a pickled dict would set them in an object that has no batches yet.
        return ParameterGroup, (dict(self),), {**self.__dict__, "holdings": ()}

    def __repr__(self) -> str:
        """The settings, and how many parameters there are: their elements would fill the screen."""
        settings = [f"{name}={value!r}" for name, value in self.items() if name != "params"]
        count = len(self["params"])
        return ", ".join([f"{count} parameter{'' if count == 1 else 's'}", *settings])

    def __setitem__(self, name: str, value: Any) -> None:
        if context.tracer is not None:
            raise TraceError(
                expected(
                    f"optimizer setting {name!r}",
                    "to be changed outside of traced functions",
                    "a change inside, which only the capture would see",
                    "call the scheduler after the traced step",
                )
            )
        has_changed = name not in self or self[name] != value
        super().__setitem__(name, value)
        if name == "lr":
            for batch in self.batches:
                overwrite(batch.lr.array, value)
        elif has_changed and name not in _BESIDE_THE_OP:
            self.version += 1

    # A dict writes by these past its own __setitem__.

    def update(self, *settings: Any, **more: Any) -> None:
        """Set several, each as by itself."""
        for name, value in dict(*settings, **more).items():
            self[name] = value

    def __ior__(self, settings: Any, /) -> ParameterGroup:  # type: ignore[override, misc]
        self.update(settings)
        return self

    def setdefault(self, name: str, default: Any = None) -> Any:
        """What `name` is set to; set to `default` first if it is not there."""
        if name not in self:
            self[name] = default
        return self[name]

    @property
    def num_steps(self) -> dict[Parameter, int]:
        """How many updates each parameter has had."""
        return {parameter: int(batch.step.array) for batch in self.batches for parameter in batch.parameters}

    def make_batches(
        self,
        states: dict[Parameter, dict[str, Tensor]],
        num_steps: dict[Parameter, int],
        names: Sequence[str] | None = None,
    ) -> None:
        """Partition the parameters by dtype, device and number of steps made.

        Batches that stay as they are keep their tensors, so captures that hold them stay valid.

        Args:
            names: the kinds of state, by default those that the first parameter has.
        """
        found: dict[Any, list[Parameter]] = {}
        for parameter in self["params"]:
            key = (parameter.dtype, parameter.device, num_steps.get(parameter, 0))
            found.setdefault(key, []).append(parameter)
        if _same([batch.parameters for batch in self.batches], list(found.values())):
            for batch, (_, _, steps) in zip(self.batches, found):
                overwrite(batch.step.array, steps)
                by_kind = _by_kind(states, batch.parameters, names)
                # Captures see by the optimizer's `holdings` that other states are there.
                if not _same(batch.states, by_kind):
                    batch.states = by_kind
            return
        self.batches = [
            ParameterBatch(parameters, _by_kind(states, parameters, names), self["lr"], steps)
            for (_, _, steps), parameters in found.items()
        ]
        self.version += 1

    def split_batches(self) -> None:
        """Give parameters without a gradient in this step batches of their own, so that step counts stay right."""
        for position in reversed(range(len(self.batches))):
            batch = self.batches[position]
            is_active = [grad_where_it_lies(parameter) is not None for parameter in batch.parameters]
            if any(is_active) and not all(is_active):
                self.batches[position : position + 1] = batch.split(is_active, self["lr"])
                self.version += 1


def _by_kind(
    states: dict[Parameter, dict[str, Tensor]], parameters: list[Parameter], names: Sequence[str] | None
) -> list[list[Tensor]]:
    kinds = states[parameters[0]] if names is None else names
    return [[states[parameter][kind] for parameter in parameters] for kind in kinds]


def _same(first: Sequence[Sequence[Tensor]], second: Sequence[Sequence[Tensor]]) -> bool:
    """Whether these are the same objects; == between tensors would compare their elements."""
    return [list(map(id, tensors)) for tensors in first] == [list(map(id, tensors)) for tensors in second]


def scalar_beside(parameter: Parameter, value: float, dtype: DType) -> Tensor:
    """A 0-d tensor on the parameter's device."""
    type = tensor_type((), dtype, device=parameter.device)
    with _place(type.device):
        return Tensor(array_module(parameter.array).full((), value, dtype.numpy), type)


def zeros_beside(parameter: Parameter) -> Tensor:
    """Zeros of the parameter's type: state that begins at nothing."""
    with _place(parameter.device):
        return Tensor(
            array_module(parameter.array).zeros(parameter.type.array_shape, parameter.type.array_dtype), parameter.type
        )


def _place(device: Device) -> AbstractContextManager[Any]:
    """CuPy allocates on the current GPU, wherever the parameter lies."""
    return current_gpu(device) if device.is_cuda else nullcontext()
