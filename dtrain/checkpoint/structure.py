"""Nested values as JSON plus a flat dict of arrays: lists, tuples, dicts, numbers, texts, tensors and arrays.

Nothing that `decode` is given is trusted: a file may have been written by anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from dtrain.base.device import CPU
from dtrain.base.dtype import from_numpy
from dtrain.base.errors import CheckpointError, DtrainError, expected
from dtrain.base.layout import PLAIN
from dtrain.base.tensor_type import parse_tensor_type
from dtrain.core.relayout import relayout
from dtrain.core.tensor import Tensor, wrap
from dtrain.kernels.device_arrays import to_host

# What JSON cannot say is a dict with one of these keys. A tensor that is laid out or quantized is `typed`: beside the
# name of the array stands the type. The array holds the elements, as they are stored, in the order of the axes and
# without padding lanes, so that other readers need to know nothing of layouts.
_TENSOR, _TYPED, _ARRAY, _TUPLE = "$tensor", "$typed", "$array", "$tuple"
# safetensors keeps this name for itself.
_RESERVED = "__metadata__"
# Below what Python's recursion and other readers' parsers bear.
MAX_DEPTH = 100
_MAX_INT_DIGITS = 4000  # Python reads no longer ones


def encode(value: Any, name: str = "") -> tuple[Any, dict[str, np.ndarray]]:
    """(JSON-able structure, arrays by dotted name).

    Places whose dotted names are equal, as {"a.b": x, "a": {"b": y}} has them, get names of their own: the later ones
    end in ~. The structure says which is which.

    Raises:
        CheckpointError: something else, a dict key that is no text, or a value that contains itself; names the place.
    """
    encoder = _Encoder()
    return encoder.visit(value, name, 0), encoder.arrays


class _Encoder:
    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def visit(self, item: Any, name: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            advice = "does the value contain itself?"
            raise CheckpointError(expected("checkpoint", f"at most {MAX_DEPTH} levels", f"more at {name:.80}", advice))
        if isinstance(item, Tensor):
            kept = self._keep(to_host(item.stored("a checkpoint")), name)
            return {_TENSOR: kept} if item.type.is_plain else {_TYPED: [kept, str(item.type.with_(device=CPU))]}
        if isinstance(item, np.ndarray) and not isinstance(item, np.ma.MaskedArray):
            from_numpy(item.dtype)  # raises for a dtype that is not ours
            return {_ARRAY: self._keep(item, name)}
        if isinstance(item, Mapping):
            return {_checked_key(key, name): self.visit(item[key], _join(name, key), depth + 1) for key in item}
        if isinstance(item, list | tuple):
            children = [self.visit(child, _join(name, str(index)), depth + 1) for index, child in enumerate(item)]
            return {_TUPLE: children} if isinstance(item, tuple) else children
        return _plain(item, name)

    def _keep(self, array: np.ndarray, name: str) -> str:
        while name in self.arrays or name == _RESERVED:
            name += "~"
        self.arrays[name] = array
        return name


def _plain(item: Any, name: str) -> Any:
    if isinstance(item, np.generic):
        item = item.item()
    if isinstance(item, int) and not isinstance(item, bool) and item.bit_length() > _MAX_INT_DIGITS * 3:
        given = f"one of {item.bit_length()} bits at {name or 'the top'}"
        raise CheckpointError(expected("checkpoint", f"integers below {_MAX_INT_DIGITS} digits", given))
    if item is None or isinstance(item, bool | int | float | str):
        return item
    raise CheckpointError(
        expected("checkpoint", "tensors, arrays, numbers, texts, lists, tuples and dicts", _at(item, name))
    )


def decode(structure: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The value that `encode` took apart.

    Raises:
        CheckpointError: the structure is none that `encode` makes, or names arrays that are not there.
    """
    return _Decoder(arrays).visit(structure, 0)


class _Decoder:
    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.arrays = arrays

    def visit(self, item: Any, depth: int) -> Any:
        if depth > 2 * MAX_DEPTH:  # a tuple is two levels of JSON
            raise _malformed(f"at most {MAX_DEPTH} levels", "more")
        if isinstance(item, list):
            return self._all(item, depth)
        if not isinstance(item, dict):
            return item
        special = [key for key in item if key.startswith("$")]
        if not special:
            return dict(zip(item, self._all(item.values(), depth)))
        if len(item) > 1:
            raise _malformed(f"{special[0]} alone in its place", f"{len(item)} keys")
        ((kind, content),) = item.items()
        if kind == _TUPLE and isinstance(content, list):
            return tuple(self._all(content, depth + 1))
        if kind == _TYPED:
            return self._typed(content)
        if kind not in (_TENSOR, _ARRAY):
            raise _malformed(f"{_TENSOR}, {_ARRAY}, a {_TYPED} or a {_TUPLE} of a list", f"{kind:.40}")
        if not isinstance(content, str) or content not in self.arrays:
            raise _malformed("the name of an array of the file", f"{content!r:.80}")
        return wrap(self.arrays[content]) if kind == _TENSOR else self.arrays[content]

    def _typed(self, content: Any) -> Tensor:
        name, text = content if isinstance(content, list) and len(content) == 2 else (None, None)
        if not isinstance(name, str) or name not in self.arrays or not isinstance(text, str):
            raise _malformed("the name of an array of the file, and a type", f"{content!r:.80}")
        array = self.arrays[name]
        try:
            type = parse_tensor_type(text)
        except DtrainError as error:
            raise _malformed("a type", f"{error!s:.200}") from None
        if (type.shape, type.array_dtype, type.device) != (array.shape, array.dtype, CPU):
            raise _malformed(f"{name:.80} to hold {type}", f"one of shape {array.shape} and dtype {array.dtype}")
        return relayout(Tensor(array, type.with_(layout=PLAIN)), type.layout)

    def _all(self, items: Iterable[Any], depth: int) -> list[Any]:
        return [self.visit(child, depth + 1) for child in items]


def _malformed(wanted: str, given: str) -> CheckpointError:
    return CheckpointError(expected("structure of the checkpoint", wanted, given, "use another file"))


def _checked_key(key: Any, name: str) -> str:
    if not isinstance(key, str) or key.startswith("$"):
        raise CheckpointError(expected("checkpoint", "dict keys that are texts not beginning with $", _at(key, name)))
    try:
        key.encode()
    except UnicodeEncodeError:  # a lone half of a surrogate pair
        raise CheckpointError(expected("checkpoint", "dict keys that UTF-8 can say", _at(key, name))) from None
    return key


def _at(item: Any, name: str) -> str:
    return f"{item!r:.80} ({type(item).__name__}) at {name or 'the top'}"


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
