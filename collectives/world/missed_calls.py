"""Collectives of scripts that end by an exception before any communicator has seen them.

`OrderedCalls` numbers a call when it is made. The functions that scripts call look at their arguments on the floors
above (the number of places to fill, shapes that ranks divide, dtypes of an op), and what they refuse never gets there.
The other ranks wait in that call all the same, and the next one of this rank would be taken for it. So it is numbered
here, and is missing from then on like any other call that ended before it began.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.world.context import present_world

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def counted(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """`function`, a collective of the group that its keyword `group` names, numbered also where it raises too early."""

    @wraps(function)
    def call(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
        before = _calls_made()
        try:
            return function(*arguments, **keywords)
        except BaseException:
            if _calls_made() == before:
                miss(keywords.get("group"))
            raise

    return call


def _calls_made() -> int:
    """Calls of this rank on any communicator of its world; those on a device have one of their own."""
    world = present_world()
    return 0 if world is None else sum([communicator.calls_made for communicator in world.family])


def miss(group: Any) -> None:
    """Count a call of a group that was not made, which the other ranks may well have made."""
    world = present_world()
    if world is None:
        return
    named = world if group in (None, "world") else group if isinstance(group, Communicator) else world.groups.get(group)
    if named is not None:
        named.miss_a_call()
