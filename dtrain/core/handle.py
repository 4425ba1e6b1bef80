"""What registering a hook returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Handle:
    """Takes a hook away again: by calling it, by `remove()`, or at the end of a `with` block. Once is enough."""

    def __init__(self, take_away: Callable[[], None]) -> None:
        self._take_away: Callable[[], None] | None = take_away

    def remove(self) -> None:
        """Take the hook away; a second time nothing happens."""
        take_away, self._take_away = self._take_away, None
        if take_away is not None:
            take_away()

    def __call__(self) -> None:
        self.remove()

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class Registration:
    """One registration of a hook: the same hook registered twice runs twice, and is taken away one by one."""

    __slots__ = ("hook",)

    def __init__(self, hook: Callable[..., Any]) -> None:
        self.hook = hook

    def __call__(self, *args: Any) -> Any:
        return self.hook(*args)


def without(registrations: tuple[Registration, ...], gone: Registration) -> tuple[Registration, ...]:
    """The registrations but for this one."""
    return tuple(other for other in registrations if other is not gone)
