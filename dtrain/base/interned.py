"""Tables of interned objects, each the only one of its facts, that let go of those that nobody else holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable
from sys import getrefcount
from threading import RLock
from typing import Generic, TypeVar

T = TypeVar("T")


def _references_to_a_local() -> int:
    """What getrefcount says of an object that nobody holds but a local name; versions of Python differ in it."""
    one = [None]
    return getrefcount(one)


_ONLY_HERE = _references_to_a_local()


class Interned(Generic[T]):
    """The objects by their keys, of which an object may have several.

    `found` is a plain dictionary, so that who asks again and again does so without a call: `table.found.get(key)`. It
    grows to `least` entries, or to twice those that were in use when it was last looked through.
    """

    def __init__(self, least: int) -> None:
        self.found: dict[Hashable, T] = {}
        self._least = self._limit = least
        self._lock = RLock()

    def make(self, create: Callable[[], T], *keys: Hashable) -> T:
        """The object of these keys, the first of which tells it from all others; created if there is none."""
        with self._lock:
            one = self.found.get(keys[0])
            if one is None:
                if len(self.found) >= self._limit:
                    self._let_go()
                one = create()
            for key in keys:
                self.found[key] = one
            return one

    def _let_go(self) -> None:
        """Drop what only this table holds.

        Other threads ask without the lock: what they have found counts as held, and what they miss they ask for again
        under the lock, after this.
        """
        keys_of = defaultdict(list)
        for key in self.found:
            keys_of[id(self.found[key])].append(key)
        for keys in keys_of.values():
            for key in keys:
                one = self.found.pop(key)
            if getrefcount(one) > _ONLY_HERE:
                for key in keys:
                    self.found[key] = one
        self._limit = max(self._least, 2 * len(self.found))
