"""What all optimizers share: groups of parameters, their state, the step, saving and loading.

A step is one fused op per group (and per dtype and device within it), applied in place when run eagerly and recorded
as a state update while tracing. State lives in tensors that the constructor makes, so a traced step finds them there.
"""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dtrain.base.errors import expected
from dtrain.capture.watched import Watched
from dtrain.core.context import context, no_grad, set_grad_enabled
from dtrain.core.reducer import reduce_waiting
from dtrain.core.tensor import Parameter, Tensor, as_tensor
from dtrain.core.tensor_gradient import grad_where_it_lies
from dtrain.nn.state import check_state
from dtrain.optim.parameter_group import ParameterBatch, ParameterGroup, zeros_beside

Parameters = Iterable[Parameter] | Iterable[dict[str, Any]]


class Optimizer(Watched, ABC):
    """Base of the optimizers: updates parameters from their gradients.

    Parameters without a gradient in a step are left as they are. `step()` may be called inside a traced function.
    """

    state_names: tuple[str, ...] = ()  # kinds of state, each a tensor like its parameter

    def __init__(self, params: Parameters, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[ParameterGroup] = []
        self.state: dict[Parameter, dict[str, Tensor]] = {}
        for group in _as_groups(type(self).__name__, params):
            self.add_param_group(group)

    @property
    def counts_steps(self) -> bool:
        """Whether an update depends on how many came before."""
        return False

    @abstractmethod
    def _update(
        self, group: ParameterGroup, batch: ParameterBatch, parameters: Sequence[Parameter], inputs: Sequence[Tensor]
    ) -> None:
        """Apply the fused op; `inputs` are parameters, gradients and each kind of state, one after another."""

    def _check(self, settings: Mapping[str, Any]) -> None:
        """Raise ValueError for settings out of range."""
        self._check_numbers(settings, "lr", "weight_decay")

    def _check_numbers(self, settings: Mapping[str, Any], *names: str) -> None:
        """Raise TypeError for what is no number, ValueError for one below 0."""
        for name in names:
            value, wanted = settings[name], f"{name} of at least 0"
            if not isinstance(value, int | float | np.number | Tensor):
                raise TypeError(expected(type(self).__name__, wanted, f"{value!r:.40} of type {type(value).__name__}"))
            if not value >= 0:
                raise ValueError(expected(type(self).__name__, wanted, repr(value)))

    def _names_for(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The kinds of state that these settings need."""
        return self.state_names

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Update further parameters: {"params": […], and settings that differ from the defaults}.

        Frozen ones may be among them: they stay as they are until they are unfrozen and get a gradient.
        """
        where = type(self).__name__
        parameters = _checked_parameters(where, group.get("params"))
        unknown = set(group) - set(self.defaults) - {"params", "initial_lr"}
        if unknown:
            known = ", ".join(self.defaults)
            raise ValueError(expected(where, f"settings among {known}", ", ".join(sorted(unknown))))
        known_parameters = {parameter for other in self.param_groups for parameter in other["params"]}
        if any(parameter in known_parameters for parameter in parameters):
            raise ValueError(expected(where, "each parameter in one group", "a parameter that another group holds"))
        added = ParameterGroup({**self.defaults, **group, "params": parameters})
        self._check(added)
        for parameter in parameters:
            self.state[parameter] = self._state_for(parameter, self._names_for(added))
        added.make_batches(self.state, {})
        added.holdings = self._holdings_of(added)
        self.param_groups.append(added)

    @property
    def num_groups(self) -> int:
        """How many groups there are."""
        return len(self.param_groups)

    def zero_grad(self) -> None:
        """Set every gradient to None."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Gradients that wait under `no_sync` of data parallelism are averaged first: all ranks make the same steps.

        Args:
            closure: computes gradients first, and gives the loss, which then comes back; else None does.
        """
        loss = None
        if closure is not None:
            with set_grad_enabled(True):
                loss = closure()
        self._step_groups()
        return loss

    def _step_groups(self) -> None:
        reduce_waiting(parameter for group in self.param_groups for parameter in group["params"])
        for group in self.param_groups:
            self._take_up(group)
        if context.tracer is not None:
            context.tracer.guard(self, "num_groups", self.num_groups)
            context.tracer.guard(self, "holdings", self.holdings)
            context.tracer.origins.enter(self)
        try:
            for group in self.param_groups:
                if self.counts_steps:
                    group.split_batches()
                if context.tracer is not None:
                    context.tracer.guard(group, "version", group.version)
                for batch in group.batches:
                    self._step_batch(group, batch)
        finally:
            if context.tracer is not None:
                context.tracer.origins.leave()

    @property
    def holdings(self) -> tuple[int, ...]:
        """Ids of all parameters and states: users exchange them (`state.clear()`, `group["params"].append(p)`)."""
        return tuple(number for group in self.param_groups for number in self._holdings_of(group))

    def _holdings_of(self, group: ParameterGroup) -> tuple[int, ...]:
        names, found = self._names_for(group), []
        # Not as an attribute that a capture relies on: `holdings` says what of it matters.
        state: dict[Parameter, dict[str, Tensor]] = object.__getattribute__(self, "state")
        for parameter in group["params"]:
            own = state.get(parameter, {})
            found += [id(parameter), *(id(own.get(name)) for name in names)]
        return tuple(found)

    def _take_up(self, group: ParameterGroup) -> None:
        """Go on with the parameters and the state that are there now.

        Settings that have changed may need further kinds of state. Kinds that are missing begin at nothing, and
        parameters without any at step 0.
        """
        if self._holdings_of(group) == group.holdings:
            return
        where, names, num_steps = type(self).__name__, self._names_for(group), group.num_steps
        for parameter in _expect_different(where, group["params"]):
            if not self.state.get(parameter):
                num_steps[parameter] = 0
            self.state[parameter] = self._state_for(parameter, names)
            for name in names:
                _expect_state(where, name, self.state[parameter][name], parameter)
        group.make_batches(self.state, num_steps, names)
        group.holdings = self._holdings_of(group)

    def _state_for(self, parameter: Parameter, names: Iterable[str]) -> dict[str, Tensor]:
        """The state of a parameter, with zeros for those of the kinds `names` that it does not have yet."""
        own = self.state.get(parameter, {})
        return {**own, **{name: zeros_beside(parameter) for name in names if name not in own}}

    def _step_batch(self, group: ParameterGroup, batch: ParameterBatch) -> None:
        parameters, states = batch.parameters, batch.states
        gradients = [grad_where_it_lies(parameter) for parameter in parameters]
        present = [gradient for gradient in gradients if gradient is not None]
        if not present:
            return
        if len(present) < len(gradients):
            active = [index for index, gradient in enumerate(gradients) if gradient is not None]
            parameters = [parameters[index] for index in active]
            states = [[kind[index] for index in active] for kind in states]
        if group["maximize"]:
            with no_grad():
                present = [-gradient for gradient in present]
        inputs: list[Tensor] = [*parameters, *present]
        for kind in states[: len(self._names_for(group))]:
            inputs += kind
        self._update(group, batch, parameters, inputs)

    def __repr__(self) -> str:
        if len(self.param_groups) == 1:
            return f"{type(self).__name__}({self.param_groups[0]!r})"
        return f"{type(self).__name__}(\n  " + "\n  ".join(map(repr, self.param_groups)) + "\n)"

    # Saving ---------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Settings and state; parameters are named by their position over all groups. Tensors share memory."""
        for group in self.param_groups:
            self._take_up(group)
        positions = {parameter: str(index) for index, parameter in enumerate(self._parameters())}
        steps = self._num_steps()
        state: dict[str, dict[str, Any]] = {}
        for parameter, position in positions.items():
            entry: dict[str, Any] = {name: tensor.detach() for name, tensor in self.state[parameter].items()}
            if self.counts_steps:
                entry["step"] = steps[parameter]
            state[position] = entry
        groups = []
        for group in self.param_groups:
            settings = {name: value for name, value in group.items() if name != "params"}
            groups.append({**settings, "params": [int(positions[parameter]) for parameter in group["params"]]})
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over settings and state of `state_dict()`; the groups must hold as many parameters of the same types.

        Nothing is changed unless everything fits.
        """
        where = f"{type(self).__name__}.load_state_dict"
        for group in self.param_groups:
            self._take_up(group)
        saved_groups = state_dict["param_groups"]
        mine = [len(group["params"]) for group in self.param_groups]
        given = [len(group["params"]) for group in saved_groups]
        if mine != given:
            raise ValueError(expected(where, f"groups of {mine} parameters", f"groups of {given}", "same model?"))
        positions = {parameter: index for index, parameter in enumerate(self._parameters())}
        for group, saved in zip(self.param_groups, saved_groups):
            if list(saved["params"]) != [positions[parameter] for parameter in group["params"]]:
                raise ValueError(expected(where, "parameters in the order of these groups", f"{saved['params']!r:.80}"))
            _check_settings(where, group, saved)
            self._check({**group, **saved})
        saved_state = {str(position): dict(entry) for position, entry in state_dict["state"].items()}
        if self.counts_steps and any("step" not in entry for entry in saved_state.values()):
            raise KeyError(expected(where, "a number of steps for each parameter", "none", "same kind of optimizer?"))
        num_steps = {
            parameter: _count(where, saved_state.get(str(position), {}).pop("step", 0))
            for parameter, position in positions.items()
        }
        names = {
            parameter: self._names_for({**group, **saved})
            for group, saved in zip(self.param_groups, saved_groups)
            for parameter in group["params"]
        }
        completed = {parameter: self._state_for(parameter, names[parameter]) for parameter in positions}
        own = {f"{i}.{name}": tensor for i, entry in enumerate(completed.values()) for name, tensor in entry.items()}
        flat = {f"{i}.{name}": tensor for i, entry in saved_state.items() for name, tensor in entry.items()}
        check_state(type(self).__name__, own, flat, strict=True)
        for name, tensor in own.items():
            tensor.assign_(as_tensor(flat[name]).detach().to(tensor.device))
        self.state.update(completed)
        for group, saved in zip(self.param_groups, saved_groups):
            _load_settings(group, saved)
            group.make_batches(self.state, num_steps, self._names_for(group))
            group.holdings = self._holdings_of(group)

    def _named_tensors(self, prefix: str, names: Mapping[int, str]) -> Iterator[tuple[str, Tensor]]:
        """Parameters that nobody else names, the state of each, and what the batches share."""
        for index, parameter in enumerate(self._parameters()):
            name = names.get(id(parameter.array)) or f"{prefix}.params.{index}"
            yield name, parameter
            for kind, tensor in self.state.get(parameter, {}).items():
                yield f"{name}.{kind}", tensor
        for batch in (batch for group in self.param_groups for batch in group.batches):
            yield f"{prefix}.lr", batch.lr
            yield f"{prefix}.step", batch.step

    def _parameters(self) -> list[Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _num_steps(self) -> dict[Parameter, int]:
        return {parameter: count for group in self.param_groups for parameter, count in group.num_steps.items()}


def _check_settings(where: str, group: ParameterGroup, saved: Mapping[str, Any]) -> None:
    for name in saved:
        if name not in group and name != "initial_lr":
            raise ValueError(expected(where, f"settings among {', '.join(group)}", name, "same kind of optimizer?"))
        mine = group.get(name, group["lr"])
        kinds = {_kind(setting) for setting in (saved[name], mine) if setting is not None}
        if name != "params" and len(kinds) > 1:
            given = f"{saved[name]!r:.40}"
            raise ValueError(expected(where, f"{name} of the kind of {mine!r}", given, "same kind of optimizer?"))


def _count(where: str, value: Any) -> int:
    if not isinstance(value, int | np.integer) or value < 0:
        raise ValueError(expected(where, "a number of steps", f"{value!r:.40}"))
    return int(value)


def _kind(setting: Any) -> type:
    """Lists are what tuples are in files of other kinds, and NumPy's numbers are saved as Python's."""
    if isinstance(setting, numbers.Real):
        return float
    return tuple if isinstance(setting, list) else type(setting)


def _load_settings(group: ParameterGroup, saved: Mapping[str, Any]) -> None:
    for name, value in saved.items():
        if name != "params":
            group[name] = tuple(value) if isinstance(value, list) else value


def _as_groups(where: str, params: Any) -> list[dict[str, Any]]:
    if isinstance(params, Tensor | set | frozenset | Mapping):
        raise TypeError(
            expected(where, "a list or generator of parameters", type(params).__name__, "its order must be the same")
        )
    if not isinstance(params, Iterable):
        given = f"{params!r:.40} of type {type(params).__name__}"
        raise TypeError(expected(where, "parameters", given, "pass model.parameters()"))
    listed = list(params)
    if not listed:
        raise ValueError(expected(where, "at least one parameter", "none", "pass model.parameters()"))
    if all(isinstance(item, dict) for item in listed):
        return listed
    return [{"params": listed}]


def _checked_parameters(where: str, params: Any) -> list[Parameter]:
    if params is None or isinstance(params, set | frozenset):
        given = "none" if params is None else type(params).__name__
        raise TypeError(expected(where, "a group with an ordered list of params", given))
    parameters: list[Any] = [params] if isinstance(params, Tensor) else list(params)
    if not parameters:
        raise ValueError(expected(where, "at least one parameter in a group", "none"))
    return _expect_different(where, parameters)


def _expect_different(where: str, parameters: list[Any]) -> list[Parameter]:
    for parameter in parameters:
        if not isinstance(parameter, Parameter):
            raise TypeError(expected(where, "Parameters", type(parameter).__name__, "wrap tensors in dt.Parameter"))
    if len(set(parameters)) != len(parameters):
        raise ValueError(expected(where, "each parameter once", "one of them twice"))
    return parameters


def _expect_state(where: str, name: str, value: Any, parameter: Parameter) -> None:
    if not isinstance(value, Tensor) or value.type is not parameter.type:
        given = str(value.type) if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(expected(where, f"state {name} of type {parameter.type}, as its parameter", given))
