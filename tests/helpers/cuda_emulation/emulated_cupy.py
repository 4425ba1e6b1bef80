"""A stand-in for CuPy over host memory, strict where CuPy is strict: an emulation for tests on machines without a GPU.

Arrays of NumPy and of the emulation never mix: an op, an index or an assignment that would make CuPy raise raises here
too. 0-d results stay arrays, as in CuPy. Own kernels run through `emulated_module`.
"""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import numpy as np
from helpers.cuda_emulation.emulated_module import EmulatedModule
from numpy.lib.mixins import NDArrayOperatorsMixin

NUM_DEVICES = 2


class _Current(threading.local):
    """The current device of each thread, as CUDA has it, with those of the `with` blocks around it."""

    def __init__(self) -> None:
        self.stack = [0]


_current = _Current()


class EmulatedDevice:
    """`cupy.cuda.Device`."""

    compute_capability = "00"

    def __init__(self, id: int | None = None) -> None:
        self.id = _current.stack[-1] if id is None else int(id)
        assert 0 <= self.id < NUM_DEVICES, self.id

    def __enter__(self) -> EmulatedDevice:
        _current.stack.append(self.id)
        return self

    def __exit__(self, *exception: object) -> None:
        _current.stack.pop()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EmulatedDevice) and self.id == other.id

    def __hash__(self) -> int:
        return self.id

    def use(self) -> None:
        """Current until another one is, in this and every `with` block around it."""
        _current.stack[-1] = self.id

    def synchronize(self) -> None:
        """Nothing runs ahead here."""


class _Memory:
    """`ndarray.data`."""

    def __init__(self, ptr: int) -> None:
        self.ptr = ptr


def to_host(value: Any) -> Any:
    """Emulated arrays as NumPy's, also inside tuples and lists; a NumPy array among them is a mistake."""
    if isinstance(value, ndarray):
        assert value.device.id == _current.stack[-1], (
            f"an array of device {value.device.id} used on device {_current.stack[-1]}"
        )
        return value.host
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, tuple | list):
        return type(value)(to_host(item) for item in value)
    return value


def to_device(value: Any, source: Any = None) -> Any:
    """NumPy results as emulated arrays, 0-d ones too; plain values as they are. `source` owns what a view views."""
    if isinstance(value, np.ndarray | np.generic):
        result = ndarray(np.asarray(value))
        if isinstance(source, ndarray) and np.may_share_memory(result.host, source.host):
            result.base = source if source.base is None else source.base
            result.device = source.device
        return result
    if isinstance(value, tuple | list):
        return type(value)(to_device(item, source) for item in value)
    return value


class ndarray(NDArrayOperatorsMixin):
    """`cupy.ndarray`, its elements in `host`."""

    def __init__(self, host: np.ndarray) -> None:
        self.host = host
        self.device = EmulatedDevice()
        self.base: ndarray | None = None

    shape = property(lambda self: self.host.shape)
    dtype = property(lambda self: self.host.dtype)
    size = property(lambda self: self.host.size)
    ndim = property(lambda self: self.host.ndim)
    nbytes = property(lambda self: self.host.nbytes)
    itemsize = property(lambda self: self.host.itemsize)
    strides = property(lambda self: self.host.strides)
    flags = property(lambda self: self.host.flags)
    data = property(lambda self: _Memory(self.host.ctypes.data))
    T = property(lambda self: to_device(self.host.T, self))
    __cuda_array_interface__ = property(lambda self: self.host.__array_interface__)

    def get(self) -> np.ndarray:
        return self.host.copy()

    def set(self, source: np.ndarray) -> None:
        if not isinstance(source, np.ndarray) or source.shape != self.shape or source.dtype != self.dtype:
            raise TypeError(f"set() wants a NumPy array of {self.dtype}{self.shape}")
        self.host[...] = source

    def copy(self, order: str = "C") -> ndarray:
        """Onto the current device, from whichever."""
        return ndarray(self.host.copy(order=order))

    def __array__(self, *arguments: Any, **options: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        # CuPy's `at` adds floats atomically, in any order, and knows few dtypes.
        assert method != "at", "not on a GPU: use dtrain.kernels.reference.add_at"
        result = getattr(ufunc, method)(*to_host(inputs), **{key: to_host(value) for key, value in options.items()})
        if "out" in options:
            return options["out"][0] if len(options["out"]) == 1 else options["out"]
        return to_device(result)

    def __array_function__(self, function: Any, classes: Any, inputs: Any, options: Any) -> Any:
        if not hasattr(function, "__name__"):
            return NotImplemented
        return getattr(sys.modules["cupy"], function.__name__)(*inputs, **options)

    def __getitem__(self, key: Any) -> ndarray:
        return _view_or_result(self, self.host[_wrapped(to_host(key), self.shape)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.host[_wrapped(to_host(key), self.shape)] = to_host(value)

    def __len__(self) -> int:
        return len(self.host)

    def __iter__(self) -> Iterator[ndarray]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.host)

    def __int__(self) -> int:
        return int(self.host)

    def __float__(self) -> float:
        return float(self.host)

    def __index__(self) -> int:
        return self.host.__index__()

    def item(self) -> Any:
        return self.host.item()

    def tolist(self) -> Any:
        return self.host.tolist()


def _wrapped(key: Any, shape: tuple[int, ...]) -> Any:
    """The key with index values brought into range in silence, as CuPy does."""
    entries = list(key) if isinstance(key, tuple) else [key]
    consumed = sum(1 for entry in entries if entry is not None and entry is not Ellipsis)
    axis, wrapped = 0, []
    for entry in entries:
        if isinstance(entry, np.ndarray) and entry.dtype.kind in "iu" and shape[axis]:
            entry = entry % shape[axis]
        wrapped.append(entry)
        axis += len(shape) - consumed if entry is Ellipsis else entry is not None
    return tuple(wrapped) if isinstance(key, tuple) else wrapped[0]


def _view_or_result(array: ndarray, result: Any) -> Any:
    """A view needs no device; what was computed needs that of its array to be current."""
    is_view = isinstance(result, np.ndarray) and (result.size == 0 or np.may_share_memory(result, array.host))
    if not is_view:
        to_host(array)
    elif not result.flags.writeable:
        result.flags.writeable = array.host.flags.writeable  # NumPy protects diagonals, CuPy does not
    made = to_device(result, array)
    if is_view:
        made.device = array.device
    return made


def _method(name: str) -> Any:
    def call(self: ndarray, *arguments: Any, **options: Any) -> Any:
        if name in VIEWS:
            return _view_or_result(self, getattr(self.host, name)(*arguments, **options))
        host_options = {key: to_host(value) for key, value in options.items()}
        result = getattr(to_host(self), name)(*to_host(arguments), **host_options)
        return options["out"] if options.get("out") is not None else to_device(result, self)

    return call


METHODS = """
all any argmax argmin argpartition argsort astype clip conj cumprod cumsum diagonal dot fill flatten max mean min
nonzero partition prod ravel repeat reshape round searchsorted sort squeeze std sum swapaxes take trace transpose var
view
"""

# Of these, what gives a view where it can.
VIEWS = {"diagonal", "ravel", "reshape", "squeeze", "swapaxes", "transpose", "view"}

for _name in METHODS.split():
    setattr(ndarray, _name, _method(_name))

ndarray.__module__ = "cupy"
ndarray.__qualname__ = "ndarray"


def array(source: Any, dtype: Any = None, copy: bool = True, **options: Any) -> ndarray:
    """`cupy.array`: also from NumPy arrays, the one way in."""
    host = source.host if isinstance(source, ndarray) else source
    return ndarray(np.array(host, dtype=dtype, **options))


def asarray(source: Any, dtype: Any = None, **options: Any) -> ndarray:
    """`cupy.asarray`."""
    if isinstance(source, ndarray) and (dtype is None or source.dtype == dtype):
        return source
    return array(source, dtype, **options)


def take(source: ndarray, indices: ndarray, axis: int) -> ndarray:
    """`cupy.take`, which brings index values into range in silence."""
    places = to_host(indices) % source.shape[axis] if source.shape[axis] else to_host(indices)
    return to_device(to_host(source).take(places, axis=axis))


def asnumpy(source: ndarray) -> np.ndarray:
    """`cupy.asnumpy`."""
    return source.get()


class _Cupy(types.ModuleType):
    """The module: what is not special is NumPy's function over emulated arrays."""

    def __getattr__(self, name: str) -> Any:
        target = getattr(np, name)
        if isinstance(target, type) or not callable(target) or isinstance(target, np.ufunc):
            return target

        def call(*arguments: Any, **options: Any) -> Any:
            host_options = {key: to_host(value) for key, value in options.items()}
            result = target(*to_host(arguments), **host_options)
            source = arguments[0] if arguments else None
            return options["out"] if options.get("out") is not None else to_device(result, source)

        return call


class _Grid:
    """`cupy.ogrid`."""

    def __getitem__(self, key: Any) -> Any:
        return to_device(np.ogrid[key])


class _Stream:
    """`cupy.cuda.Stream`."""

    null = property(lambda self: self)

    def synchronize(self) -> None:
        """Nothing runs ahead here."""


class _Event:
    """`cupy.cuda.Event`, on the clock of the host."""

    def record(self) -> None:
        self.time = perf_counter()

    def synchronize(self) -> None:
        """Nothing runs ahead here."""


def _elapsed_milliseconds(begin: _Event, end: _Event) -> float:
    return (end.time - begin.time) * 1e3


def make_module() -> types.ModuleType:
    """A fresh `cupy`."""
    module = _Cupy("cupy")
    for name, value in {
        "ndarray": ndarray, "array": array, "asarray": asarray, "ascontiguousarray": array, "asnumpy": asnumpy,
        "take": take, "RawModule": EmulatedModule, "ogrid": _Grid(), "__version__": "emulated",
    }.items():  # fmt: skip
        setattr(module, name, value)
    module.cuda = types.SimpleNamespace(  # type: ignore[attr-defined]
        Device=EmulatedDevice,
        get_current_stream=_Stream,
        Event=_Event,
        get_elapsed_time=_elapsed_milliseconds,
        runtime=types.SimpleNamespace(getDeviceCount=lambda: NUM_DEVICES),
    )
    return module


@contextmanager
def emulated_cuda() -> Iterator[types.ModuleType]:
    """Inside, `import cupy` gives the emulation and `cuda:0` and `cuda:1` exist; outside nothing is left of it."""
    from dtrain.base import cuda
    from dtrain.kernels import cuda_kernels
    from dtrain.kernels.cuda import range_flag, tables

    def forget() -> None:
        cuda_kernels.forget_compiled()
        tables.forget()
        range_flag.forget()
        if "dtrain.graph.op" in sys.modules:
            for op in sys.modules["dtrain.graph.op"].all_ops():
                op.dispatch_cache.clear()

    real = sys.modules.get("cupy")
    module = make_module()
    sys.modules["cupy"] = module
    probe = cuda.probe_driver
    cuda.probe_driver = lambda: (NUM_DEVICES, "")
    forget()
    try:
        yield module
    finally:
        cuda.probe_driver = probe
        del sys.modules["cupy"]
        if real is not None:
            sys.modules["cupy"] = real
        forget()
