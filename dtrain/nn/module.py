"""The module: a tree of layers, parameters and buffers, held together by ordinary attributes.

Parameters and child modules are whatever attributes hold them, directly or in nested lists, tuples and dicts; buffers
are tensors named with `register_buffer`. Nothing is registered elsewhere: the tree is read from the attributes when it
is asked for, so setting one stays as cheap as in any Python object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from dtrain.base.device import DeviceLike
from dtrain.base.dtype import DTypeLike
from dtrain.base.errors import expected
from dtrain.base.memory_format import MemoryFormat
from dtrain.capture.watched import Watched
from dtrain.core.context import context
from dtrain.core.handle import Handle, Registration, without
from dtrain.core.tensor import Parameter, Tensor
from dtrain.nn.load_result import LoadResult
from dtrain.nn.module_methods import ModuleMethods
from dtrain.nn.state import check_state, load_state, move_tensors

ForwardPreHook = Callable[["Module", tuple[Any, ...]], Any]
ForwardHook = Callable[["Module", tuple[Any, ...], Any], Any]
Target = DeviceLike | DTypeLike | None
SomeModule = TypeVar("SomeModule", bound="Module")


class ForwardBoundary(Protocol):
    """What surrounds every call of a module, whoever calls it (data parallelism)."""

    def call(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The output of the call; `module.forward_with_hooks(*args, **kwargs)` computes it."""


class Module(ModuleMethods, Watched):
    """Base of all layers and models: set parameters and layers as attributes, and write `forward`.

    class Net(nn.Module):
        def __init__(self):
            self.layers = [nn.Linear(64, 32), nn.Linear(32, 10)]

        def forward(self, x):
            return self.layers[1](F.relu(self.layers[0](x)))
    """

    # Defaults live on the class, so that a subclass need not call super().__init__().
    training: bool = True
    _buffers: Mapping[str, bool] = {}  # name -> is it saved
    _hooks: tuple[tuple[Registration, ...], tuple[Registration, ...]] = ((), ())  # before and after forward
    # What every call goes through; copies of the module keep it.
    _boundary: ForwardBoundary | None = None
    _replaced = frozenset({"_buffers", "_hooks"})
    _is_tree = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; call the module itself instead, which also runs hooks."""
        raise NotImplementedError(f"{type(self).__name__}: expected a module that defines forward(), got none")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._boundary is not None:
            return self._boundary.call(self, args, kwargs)
        return self.forward_with_hooks(*args, **kwargs)

    def forward_with_hooks(self, *args: Any, **kwargs: Any) -> Any:
        """`forward` between its hooks: what a call does inside of the module's boundary."""
        before, after = self._hooks
        tracer = context.tracer
        if tracer is not None:
            for hook in (*before, *after):
                tracer.reads.note_value(hook)
            tracer.origins.enter(self)
        try:
            for pre_hook in before:
                replaced = pre_hook(self, args)
                if replaced is not None:
                    args = replaced if isinstance(replaced, tuple) else (replaced,)
            output = self.forward(*args, **kwargs)
            for hook in after:
                replaced = hook(self, args, output)
                if replaced is not None:
                    output = replaced
        finally:
            if tracer is not None:
                tracer.origins.leave()
        return output

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, list | tuple | dict):
            for _ in expand(name, value):  # raises for a key that could not become a name
                pass
        super().__setattr__(name, value)

    # Building -------------------------------------------------------------------------------------------------------

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Set attribute `name`, which may contain characters that Python's syntax does not allow."""
        if parameter is not None and not isinstance(parameter, Parameter):
            raise TypeError(
                expected("register_parameter", f"a Parameter for {name!r}", type(parameter).__name__, "wrap it")
            )
        _check_name("register_parameter", name)
        setattr(self, name, parameter)

    def register_buffer(self, name: str, tensor: Tensor | None, *, persistent: bool = True) -> None:
        """Make attribute `name` a tensor that belongs to the module's state but is not trained.

        It moves with `to()` and, if `persistent`, is part of `state_dict()`.
        """
        if tensor is not None and (not isinstance(tensor, Tensor) or isinstance(tensor, Parameter)):
            raise TypeError(expected("register_buffer", f"a plain tensor for {name!r}", type(tensor).__name__))
        _check_name("register_buffer", name)
        self._buffers = {**self._buffers, name: persistent}
        setattr(self, name, tensor)

    def register_forward_pre_hook(self, hook: ForwardPreHook) -> Handle:
        """Call `hook(module, args)` before forward; what it returns, unless None, replaces the arguments.

        The handle takes it back: `handle.remove()`, or `handle()`.
        """
        added = Registration(hook)
        before, after = self._hooks
        self._hooks = (*before, added), after
        return Handle(lambda: self._remove_hook(added))

    def register_forward_hook(self, hook: ForwardHook) -> Handle:
        """Call `hook(module, args, output)` after forward; what it returns, unless None, replaces the output.

        The handle takes it back: `handle.remove()`, or `handle()`.
        """
        added = Registration(hook)
        before, after = self._hooks
        self._hooks = before, (*after, added)
        return Handle(lambda: self._remove_hook(added))

    def _remove_hook(self, gone: Registration) -> None:
        before, after = self._hooks
        self._hooks = without(before, gone), without(after, gone)

    # The tree -------------------------------------------------------------------------------------------------------

    def members(self) -> Iterator[tuple[str, Tensor | Module]]:
        """Tensors and modules that the attributes hold, with their dotted names, in order of assignment."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                yield name, value
            else:
                yield from expand(name, value)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below, each once."""
        seen: set[Module] = set()
        for name, value in self.members():
            if isinstance(value, Module) and value not in seen:
                seen.add(value)
                yield name, value

    def children(self) -> Iterator[Module]:
        """The modules directly below, each once."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "", _seen: set[Module] | None = None) -> Iterator[tuple[str, Module]]:
        """This module and all below it, each once, with dotted names; its own name is `prefix`."""
        seen = set() if _seen is None else _seen
        if self in seen:
            return
        seen.add(self)
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(_join(prefix, name), seen)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Every parameter of the tree with its dotted name; a shared one only under its first."""
        seen: set[Parameter] = set()
        for module_name, module in self.named_modules(prefix):
            for name, value in module.members():
                if isinstance(value, Parameter) and value not in seen:
                    seen.add(value)
                    yield _join(module_name, name), value

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter of the tree, each once."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Every buffer of the tree with its dotted name; a shared one only under its first."""
        seen: set[Tensor] = set()
        for module_name, module in self.named_modules(prefix):
            for name in module._buffers:
                value = getattr(module, name)
                if value is not None and value not in seen:
                    seen.add(value)
                    yield _join(module_name, name), value

    def buffers(self) -> Iterator[Tensor]:
        """Every buffer of the tree, each once."""
        return (buffer for _, buffer in self.named_buffers())

    def _named_parts(self, prefix: str) -> Iterator[tuple[str, Module]]:
        return self.named_modules(prefix)

    def _named_tensors(self, prefix: str, names: Mapping[int, str]) -> Iterator[tuple[str, Tensor]]:
        for module_name, module in self.named_modules(prefix):
            for name, value in module.members():
                if isinstance(value, Tensor):
                    yield _join(module_name, name), value

    def get_module(self, name: str) -> Module:
        """The module of this dotted name. Raises KeyError with the names that exist."""
        modules = dict(self.named_modules())
        if name not in modules:
            known = ", ".join(repr(known) for known in modules)
            raise KeyError(expected(type(self).__name__, f"a module named {name!r}", f"the names {known}"))
        return modules[name]

    def replace_child(self, name: str, module: Module) -> None:
        """Put `module` in the place of the child of this name, which may lie in a nested list, tuple or dict."""
        if name not in dict(self.named_children()):
            known = ", ".join(repr(known) for known, _ in self.named_children()) or "no children"
            raise KeyError(expected(f"{type(self).__name__}.replace_child", f"a child named {name!r}", known))
        attribute, *path = name.split(".")
        setattr(self, attribute, _replaced(getattr(self, attribute), path, module))

    def apply(self: SomeModule, function: Callable[[Module], Any]) -> SomeModule:
        """Call `function` on every module of the tree, children before parents. Returns self."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    # State ----------------------------------------------------------------------------------------------------------

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Parameters and persistent buffers by dotted name, sharing memory with the module.

        A parameter that hangs in two places has two names.

        Raises:
            ValueError: two places have one name, as {"a.b": x, "a": {"b": y}} in a dict of modules has.
        """
        state: dict[str, Tensor] = {}
        for name, value in self.members():
            found: dict[str, Tensor] = {}
            if isinstance(value, Module):
                found = value.state_dict(_join(prefix, name))
            elif isinstance(value, Parameter) or self._buffers.get(name, False):
                found = {_join(prefix, name): value.detach()}
            twice = next((name for name in found if name in state), None)
            if twice is not None:
                where, advice = f"{type(self).__name__}.state_dict", "rename one of them"
                raise ValueError(expected(where, "a name for each tensor", f"two places named {twice!r}", advice))
            state.update(found)
        return state

    def load_state_dict(self, state: Mapping[str, Any], *, strict: bool = True) -> LoadResult:
        """Overwrite parameters and buffers in place with tensors (or arrays) of the same names.

        Nothing is changed unless everything fits. Returns the names passed over, which `strict` forbids.

        Raises:
            ShapeError, DtypeError: a tensor has another shape or dtype than the module's of that name.
            KeyError: names are missing or unexpected, and `strict` is True.
        """
        own = self.state_dict()
        missing, unexpected = check_state(type(self).__name__, own, state, strict=strict)
        load_state(own, state)
        return LoadResult(missing, unexpected)

    def train(self: SomeModule, mode: bool = True) -> SomeModule:
        """Switch to training mode (dropout drops, batch norm uses batch statistics). Returns self."""
        self.training = mode
        # Through the method, not a flag: children such as observers act on the switch.
        for child in self.children():
            child.train(mode)
        return self

    def eval(self: SomeModule) -> SomeModule:
        """Switch to evaluation mode. Returns self."""
        return self.train(False)

    def requires_grad_(self: SomeModule, requires_grad: bool = True) -> SomeModule:
        """Let every parameter require gradients or not. Returns self."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to None."""
        for parameter in self.parameters():
            parameter.grad = None

    def to(self: SomeModule, target: Target = None, *, memory_format: MemoryFormat | None = None) -> SomeModule:
        """Move every parameter and buffer to a device, or cast the floating ones to a dtype, in place. Returns self.

        Do it before making an optimizer, whose state is made beside them. A `memory_format` has no effect.
        """
        if target is not None or memory_format is None:
            move_tensors(type(self).__name__, [*self.parameters(), *self.buffers()], target)
        return self

    # Text -----------------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What `repr` shows in the brackets besides children."""
        return ""

    def __repr__(self) -> str:
        lines = [
            f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()
        ]  # indentation grows with depth
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        head = [extra] if extra else []
        return f"{type(self).__name__}(\n  " + "\n  ".join(head + lines) + "\n)"


def expand(name: str, value: Any, _around: tuple[int, ...] = ()) -> Iterator[tuple[str, Parameter | Module]]:
    """The parameters and modules in a nested list, tuple or dict, with dotted names such as `a.0.x`.

    What else containers hold, plain tensors among it, is the business of whoever put it there. Raises AssertionError
    for a parameter or module under a dict key that is not a string: it would have no name.
    """
    if isinstance(value, Parameter | Module):
        yield name, value
    elif not isinstance(value, list | tuple | dict) or id(value) in _around:  # a container may hold itself
        return
    elif not isinstance(value, dict):
        for index, item in enumerate(value):
            yield from expand(f"{name}.{index}", item, (*_around, id(value)))
    else:
        for key, item in value.items():
            if isinstance(key, bool) and isinstance(item, Tensor):
                raise _no_name(name, key)  # as the reference system has it; numbers are keys of caches
            for below, member in expand(f"{name}.{key}", item, (*_around, id(value))):
                if not isinstance(key, str):
                    raise _no_name(name, key)
                yield below, member


def _no_name(name: str, key: object) -> AssertionError:
    # The type and the text are those of the reference system.
    return AssertionError(f"{name}: keys for Tensor and Module must be str, error key: {key}")


def _replaced(value: Any, path: list[str], module: Module) -> Any:
    """The nested value with the module at `path` exchanged: lists and dicts in place, tuples made anew."""
    if not path:
        return module
    if isinstance(value, dict):
        value[path[0]] = _replaced(value[path[0]], path[1:], module)
        return value
    index = int(path[0])
    child = _replaced(value[index], path[1:], module)
    if isinstance(value, tuple):
        return (*value[:index], child, *value[index + 1 :])
    value[index] = child
    return value


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _check_name(where: str, name: str) -> None:
    if not isinstance(name, str) or not name or "." in name:
        raise ValueError(expected(where, "a name without dots", repr(name)))
