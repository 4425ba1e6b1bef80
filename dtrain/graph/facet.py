"""What floors above know of ops beside the record itself: one table a fact, which all keep to the same rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from dtrain.base.errors import expected
from dtrain.graph.op import Op

T = TypeVar("T")


class Facet(Generic[T]):
    """A fact that an op may have, such as its rule for layouts. Tells the ops that have it when iterated over.

    Facts belong to names: the record of an op that was read from a text without its family has those of its name.

    >>> Facet("layout rule")
    Facet('layout rule': no op)
    """

    __slots__ = ("_facts", "what")

    def __init__(self, what: str) -> None:
        self.what = what
        self._facts: dict[str, T] = {}

    def register(self, op: Op | str, fact: T) -> None:
        """Let this be the fact of `op`, given by its record, or by its name where a lower floor knows no more.

        Raises:
            ValueError: the op has another one.
        """
        name = op if isinstance(op, str) else op.name
        before = self._facts.setdefault(name, fact)
        if before is not fact:
            given = f"{_words(fact)} beside {_words(before)}"
            raise ValueError(expected(f"{self.what} of {name}", "one an op", given))

    def of(self, name: str) -> T | None:
        """The fact of the op of this name, or None."""
        return self._facts.get(name)

    def __contains__(self, name: str) -> bool:
        return name in self._facts

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __repr__(self) -> str:
        return f"Facet({self.what!r}: {', '.join(self) or 'no op'})"


def _words(fact: object) -> str:
    return str(getattr(fact, "__qualname__", fact))
