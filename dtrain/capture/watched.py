"""Objects whose attributes captures rely on: a change is counted, and a read inside a traced function is reported.

Counting makes the check of a capture one comparison as long as nobody has set an attribute anywhere. Reads are seen by
an attribute hook that is in place only while some thread captures, so that it costs nothing otherwise. Classes of users
get such a hook too once a capture has reached an object of theirs; nobody counts what is set on these.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from dtrain.core.context import context

if TYPE_CHECKING:
    from dtrain.core.tensor import Tensor

_NUMBERS = count(1)


class Changes:
    """`latest` is another number after every change of an attribute; never one that was there before."""

    __slots__ = ("latest",)

    def __init__(self) -> None:
        self.latest = 0

    def note(self) -> None:
        """Something changed that captures may have read."""
        self.latest = next(_NUMBERS)


changes = Changes()


class Watched:
    """Base of modules and optimizers."""

    # Lists and dicts that the class replaces, but never changes: their contents need no look.
    _replaced: ClassVar[frozenset[str]] = frozenset()
    # Whether it names tensors by their place in a tree, which needs no name of its own as long as there is one tree.
    _is_tree: ClassVar[bool] = False

    def _named_parts(self, prefix: str) -> Iterator[tuple[str, Watched]]:
        """What it consists of, itself first, and how graphs call that; its own name is `prefix`."""
        yield prefix, self

    def _named_tensors(self, prefix: str, names: Mapping[int, str]) -> Iterator[tuple[str, Tensor]]:
        """The tensors that it holds, and how graphs call them. `names` are those known by now, by id of the array."""
        return iter(())

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        changes.note()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        changes.note()


def _reported(self: Watched, name: str) -> Any:
    if context.tracer is None:
        return object.__getattribute__(self, name)
    reads = context.tracer.reads
    try:
        value = object.__getattribute__(self, name)
    except AttributeError:
        reads.note_missing(self, name)
        raise
    reads.note_read(self, name, value)
    return value


_lock = threading.Lock()
_num_capturing = 0
_hooks: set[Any] = set()
_reporting: dict[type, Any] = {}  # classes with a hook -> what they had in its place, or None
_reporting_modules: list[ModuleType] = []
_HEAP_TYPE, _IMMUTABLE_TYPE = 1 << 9, 1 << 8  # bits of `__flags__`: Py_TPFLAGS_HEAPTYPE, Py_TPFLAGS_IMMUTABLETYPE


def report_reads_of(kind: type) -> None:
    """Attribute reads of objects of a class are reported as those of watched ones, as long as anybody captures."""
    with _lock:
        if _num_capturing == 0 or not kind.__flags__ & _HEAP_TYPE or kind.__flags__ & _IMMUTABLE_TYPE:
            return
        original: Any = kind.__getattribute__
        if original in _hooks:
            return

        def reported(self: Any, name: str) -> Any:
            if context.tracer is None:
                return original(self, name)
            # Asked before the value: to find it, a property reads and changes what there is.
            context.tracer.reads.note_object_read(self, name)
            return original(self, name)

        _reporting[kind] = vars(kind).get("__getattribute__")
        _hooks.add(reported)
        type.__setattr__(kind, "__getattribute__", reported)


def report_reads_of_module(module: ModuleType) -> None:
    """Attribute reads of a module are reported as those of watched objects, as long as anybody captures."""
    with _lock:
        # A class of its own, which a module that loads lazily may have, stays as it is.
        if _num_capturing and type(module) is ModuleType:
            module.__class__ = _ReportingModule
            _reporting_modules.append(module)


class _ReportingModule(ModuleType):
    def __getattribute__(self, name: str) -> Any:
        if context.tracer is not None:
            context.tracer.reads.note_module_read(self, name)
        return ModuleType.__getattribute__(self, name)


def has_own_lookup(kind: type) -> bool:
    """Whether a class looks attributes up by code of its own, which may pass by the hooks."""
    lookups = [_reporting.get(base, vars(base).get("__getattribute__")) for base in kind.__mro__ if base is not object]
    return any(lookup is not None for lookup in lookups)


def _stop_reporting() -> None:
    for module in _reporting_modules:
        module.__class__ = ModuleType
    _reporting_modules.clear()
    for kind, before in _reporting.items():
        if before is None:
            type.__delattr__(kind, "__getattribute__")
        else:
            type.__setattr__(kind, "__getattribute__", before)
    _reporting.clear()
    _hooks.clear()


@contextmanager
def reporting_reads() -> Iterator[None]:
    """Attribute reads of watched objects inside are reported to the tracer of the thread that reads."""
    global _num_capturing
    with _lock:
        _num_capturing += 1
        if _num_capturing == 1:
            Watched.__getattribute__ = _reported  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        with _lock:
            _num_capturing -= 1
            if _num_capturing == 0:
                del Watched.__getattribute__
                _stop_reporting()
