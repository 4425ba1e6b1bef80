"""A communicator of device arrays behind host arrays, so that one contract serves both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.communicator.work import Work
from dtrain.kernels.device_arrays import overwrite


class FromHost:
    """Copies NumPy arguments to the device, calls, and copies results (and `out`) back."""

    def __init__(self, communicator: Communicator, to_device: Callable[[Any], Any], to_host: Callable[[Any], Any]):
        self._communicator, self._to_device, self._to_host = communicator, to_device, to_host

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._communicator, name)
        if name == "split":
            return lambda *args, **kwargs: self._wrapped(value(*args, **kwargs))
        if name == "lane":
            return lambda lane: self if value(lane) is self._communicator else self._wrapped(value(lane))
        if not callable(value) or name.endswith("_object") or name in ("algorithm", "close", "barrier"):
            return value
        return lambda *args, **kwargs: self._call(value, args, kwargs)

    def _wrapped(self, child: Communicator | None) -> FromHost | None:
        return None if child is None else FromHost(child, self._to_device, self._to_host)

    def _call(self, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        moved: dict[int, tuple[np.ndarray, Any]] = {}

        def there(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return type(value)(there(item) for item in value)
            if not self._is_array(value):
                return value
            if id(value) not in moved:
                moved[id(value)] = (value, self._to_device(value))
            return moved[id(value)][1]

        result = method(*[there(value) for value in args], **{name: there(value) for name, value in kwargs.items()})
        outs = kwargs.get("outs", [kwargs.get("out")])

        def back(value: Any) -> Any:
            for out in outs:
                if self._is_array(out) and moved[id(out)][1] is value:
                    overwrite(out, self._to_host(value))
                    return out
            return [back(item) for item in value] if isinstance(value, list) else self._host(value)

        if isinstance(result, Work):
            return _WorkFromHost(result, back)
        return back(result)

    def _is_array(self, value: Any) -> bool:
        return isinstance(value, np.ndarray)

    def _host(self, value: Any) -> Any:
        return None if value is None else self._to_host(value)


class _WorkFromHost:
    """A `Work` whose result comes back to the host when it is waited for."""

    def __init__(self, work: Work[Any], back: Callable[[Any], Any]) -> None:
        self._work, self._back = work, back

    def is_completed(self) -> bool:
        return self._work.is_completed()

    def wait(self, timeout: float | None = None) -> Any:
        return self._back(self._work.wait(timeout))
