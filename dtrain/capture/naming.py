"""Names for what a graph shows: states are called as `named_parameters` calls them, nodes know their module's name.

    %layer1.0.conv1.weight      a parameter or buffer of the one model that a function uses
    %generator.0.weight         of one of several, by the variable that holds it, else by its class
    %layer1.0.conv1.weight.momentum_buffer, %optimizer.lr      what an optimizer keeps
    %images, %batch.0           an argument, by the name that the function gives it
    %weights.0, %net.hidden     tensors that variables hold, directly, in containers or in plain objects
    %layer1.0.conv1.weight.grad                                a gradient from before

Names follow from the program alone, so all ranks and runs have the same ones. They are made once, after the capture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import CO_VARARGS
from types import FunctionType, MethodType
from typing import Any

from dtrain.capture.capture import Capture
from dtrain.capture.code_names import globals_in, is_users
from dtrain.capture.contents import own_attributes
from dtrain.capture.watched import Watched
from dtrain.core.tensor import Tensor
from dtrain.graph.graph import Node

_MAX_DEPTH = 4  # of containers and objects in each other
_MAX_ITEMS = 1000  # of one container


def name_capture(
    capture: Capture,
    arguments: Sequence[Tensor],
    watched: Sequence[Watched],
    variables: Mapping[str, Any],
    owners: Mapping[Node, Watched],
) -> None:
    """Name the arguments and states of a captured graph, and the scope of its nodes.

    Args:
        arguments: the symbolic tensors of the arguments.
        watched: modules and optimizers that the function read, in order.
        variables: what the function knows by which name.
        owners: the module or optimizer that recorded a node.
    """
    prefixes = _prefixes(_roots(watched), capture.states, variables)
    names: dict[int, str] = {}
    for root, prefix in prefixes.items():
        if root._is_tree:
            _take_up(names, root._named_tensors(prefix, names))
    _take_up(names, ((tensor.name, tensor) for tensor in capture.states if tensor.name))
    if any(id(tensor.array) not in names for tensor in capture.states):
        _take_up(names, _tensors_of(variables))
    for root, prefix in prefixes.items():
        if not root._is_tree:
            _take_up(names, root._named_tensors(prefix, names))
    for item in capture.gradient_states:
        leaf = names.get(id(item.leaf.array))
        if item.position is not None and leaf:
            names.setdefault(id(capture.states[item.position].array), f"{leaf}.grad")
    taken: set[str] = set()
    for value, tensor in zip(capture.graph.states, capture.states):
        value.name = _unique(names.get(id(tensor.array), ""), taken)
    given = {id(tensor): name for name, tensor in _tensors_of(variables) if tensor.array is None}
    for value, tensor in zip(capture.graph.arguments, arguments):
        value.name = _unique(given.get(id(tensor), value.name), taken)
    scopes: dict[Watched, str] = {}
    for root, prefix in prefixes.items():
        for name, part in root._named_parts(prefix):
            scopes.setdefault(part, name)
    for node, owner in owners.items():
        node.scope = scopes.get(owner, "")


def variables_of(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What a function knows by which name: arguments, then closure variables, then globals."""
    if isinstance(function, MethodType):
        function, args = function.__func__, (function.__self__, *args)
    if not isinstance(function, FunctionType):
        return dict(kwargs)
    code = function.__code__
    found = dict(zip(code.co_varnames[: code.co_argcount], args))
    if code.co_flags & CO_VARARGS:
        found[code.co_varnames[code.co_argcount + code.co_kwonlyargcount]] = args[code.co_argcount :]
    found.update(kwargs)
    for name, cell in zip(code.co_freevars, function.__closure__ or ()):
        try:
            found.setdefault(name, cell.cell_contents)
        except ValueError:  # nothing in it yet
            continue
    for name in globals_in(function):
        if name in function.__globals__:
            found.setdefault(name, function.__globals__[name])
    return found


def _roots(watched: Sequence[Watched]) -> list[Watched]:
    """Those that are no part of another one."""
    parts = {part for owner in watched for name, part in owner._named_parts("") if part is not owner}
    return [owner for owner in watched if owner not in parts]


def _prefixes(roots: Sequence[Watched], states: Sequence[Tensor], variables: Mapping[str, Any]) -> dict[Watched, str]:
    """What the names of each root begin with: nothing for the only model that holds states."""
    arrays = {id(tensor.array) for tensor in states}
    models = [
        root
        for root in roots
        if root._is_tree and any(id(tensor.array) in arrays for _, tensor in root._named_tensors("", {}))
    ]
    known = {id(value): name for name, value in reversed(list(variables.items())) if isinstance(value, Watched)}
    taken: set[str] = set()
    return {
        root: "" if models == [root] else _unique(known.get(id(root)) or type(root).__name__, taken) for root in roots
    }


def _take_up(names: dict[int, str], found: Iterable[tuple[str, Tensor]]) -> None:
    for name, tensor in found:
        if tensor.array is not None:
            names.setdefault(id(tensor.array), name)


def _tensors_of(variables: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    seen: set[int] = set()
    for name, value in variables.items():
        yield from _tensors_in("" if name == "self" else name, value, seen, _MAX_DEPTH)


def _tensors_in(name: str, value: Any, seen: set[int], depth: int) -> Iterator[tuple[str, Tensor]]:
    """Tensors that a value holds; modules and optimizers name their own."""
    if isinstance(value, Tensor):
        yield name, value
        return
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, list | tuple):
        items = enumerate(value)
    elif isinstance(value, dict):
        items = value.items()
    elif is_users(type(value)) and not isinstance(value, Watched | type):
        items = own_attributes(value).items()
    if not depth or id(value) in seen or (isinstance(value, list | tuple | dict) and len(value) > _MAX_ITEMS):
        return
    seen.add(id(value))
    for key, item in items:
        yield from _tensors_in(f"{name}.{key}" if name else str(key), item, seen, depth - 1)


def _unique(name: str, taken: set[str]) -> str:
    """The name, with a number behind it if another one has it."""
    found, number = name, 1
    while found and found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found
