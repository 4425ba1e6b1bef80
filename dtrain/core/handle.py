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


def without_last(hooks: tuple[Any, ...], hook: Any) -> tuple[Any, ...]:
    """The hooks but for the one registered last among those that are `hook`: one removal undoes one registration."""
    for position in reversed(range(len(hooks))):
        if hooks[position] is hook:
            return hooks[:position] + hooks[position + 1 :]
    return hooks
