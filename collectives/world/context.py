"""Which communicator a rank talks through: `init`, and the questions every script asks.

The communicator of a process is its default world; a thread rank (`run_threads`) has a world of its own, kept in a
context variable. Nothing here starts MPI before `init` is called in a world of more than one rank.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from dtrain.base.cuda import numbered, prefer_gpu
from dtrain.base.device import DeviceLike
from dtrain.base.errors import CollectiveError, exit_code_of, expected
from dtrain.base.rank_info import RankInfo
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.transports.membership import Membership
from dtrain.collectives.transports.table import connect
from dtrain.collectives.world.rank_claim import claim_rank, leave_job
from dtrain.control.client import control_client
from dtrain.control.messages import Joined, Joining

# The text of the world of all ranks where `using` has made a group of it the world.
WHOLE_WORLD = "the whole world"

_process_world: Communicator | None = None
has_had_world = False  # in this process, of several ranks
_thread_world: ContextVar[Communicator | None] = ContextVar("thread_world", default=None)


def init(communicator: Communicator | None = None, *, timeout: float | None = None) -> Communicator:
    """Join the world and return its communicator; a second call returns the same one.

    Without a launcher the world is this process alone. Under `dtrain run`, `mpirun` or `srun` it is every rank; a
    process that a rank started is a world of one, and is warned.

    Args:
        communicator: use this one as the world instead of looking at the environment.
        timeout: seconds that a collective waits for its peers; default DTRAIN_COLLECTIVE_TIMEOUT or 1800.

    Raises:
        LaunchError: the environment names several ranks and MPI cannot be started or disagrees.
        CollectiveError: there is another world already.
    """
    global _process_world
    current = _current()
    if current is not None:
        if communicator is not None and communicator is not current:
            raise CollectiveError(
                expected("collectives.init", "no world yet", repr(current), "call collectives.finalize() first")
            )
        return current
    world = communicator or _world_from_environment(timeout)
    world.groups.setdefault("world", world)
    _process_world = world
    prefer_gpu(RankInfo.from_environment().local_rank)
    return world


def is_initialized() -> bool:
    """Whether `init` has been called (and `finalize` has not)."""
    return _current() is not None


def get_communicator(group: str = "world", *, device: DeviceLike = "cpu") -> Communicator:
    """The communicator of a group of this rank: "world", or the text of a group made by `split`.

    Args:
        group: the group's text.
        device: where the arrays are. For a GPU the first call connects through NCCL, so that all ranks of
            the group have to make it together.

    Raises:
        CollectiveError: `init` has not been called, or this rank is in no such group.
    """
    world = _current()
    if world is None:
        raise CollectiveError(
            expected(
                "get_communicator",
                "an initialized world",
                "none",
                "call dtrain.collectives.init() at the start of the script",
            )
        )
    communicator = _group_of(world, group)
    place = numbered(device)
    return _on_cuda(communicator, place.index) if place.is_cuda else communicator


def communicator_for(array: Any, group: str = "world") -> Communicator:
    """The communicator of a group for the place where `array` is: `get_communicator` of its device."""
    if hasattr(array, "__cuda_array_interface__"):
        return get_communicator(group, device=f"cuda:{array.device.id}")
    return get_communicator(group)


def name_of(communicator: Communicator) -> str:
    """The text under which `get_communicator` finds this very communicator now.

    Its own text may mean another: "world" is whatever `using` has made the world.

    Raises:
        CollectiveError: it is closed, or of another world.
    """
    world, communicator = _current(), communicator.on_hosts
    if world is None or (communicator is world and communicator.group == "world"):
        return communicator.group
    found = next((name for name, other in world.groups.items() if other is communicator and name != "world"), None)
    if found is None and communicator is world:
        return "world"
    if found is None and communicator.groups is world.groups and communicator in world.family:
        found = WHOLE_WORLD
        world.groups[found] = communicator
    if found is None:
        given = f"{communicator!r}, which is closed or of another world"
        raise CollectiveError(expected("group", f"an open group of {world!r}", given))
    return found


def _group_of(world: Communicator, group: str) -> Communicator:
    if group == "world":
        return world
    if group not in world.groups:
        raise CollectiveError(
            expected("get_communicator", f"a group of rank {world.rank}: {', '.join(world.groups)}", repr(group))
        )
    return world.groups[group]


def _on_cuda(communicator: Communicator, index: int) -> Communicator:
    """The communicator of the same ranks for arrays on their GPUs, made once; it is closed with its parent."""
    name = f"{communicator.group} on cuda:{index}"
    if name not in communicator.groups:
        group = Membership(range(communicator.size), beside=communicator, device=index)
        made = connect(group)
        assert made is not None, "every rank of the group has a device"
        communicator.adopt(name, made)
    return communicator.groups[name]


def rank() -> int:
    """This process's rank in the world; before `init`, what the environment says."""
    world = _current()
    return world.rank if world is not None else RankInfo.from_environment().rank


def world_size() -> int:
    """Ranks in the world; before `init`, what the environment says."""
    world = _current()
    return world.size if world is not None else RankInfo.from_environment().size


def finalize(reason: str = "has called collectives.finalize()") -> None:
    """Leave the world: finish pending work and close all groups. Without a world, nothing happens.

    Args:
        reason: what ranks read that still wait for this one.

    Raises:
        Exception: of the first asynchronous call that failed and that nobody has waited for.
    """
    global _process_world
    world, _process_world = _process_world, None
    if world is None:
        return
    with ExitStack() as closing:
        # Children first: they were made after what they came of. All are closed, also if one raises.
        for communicator in world.family:
            closing.callback(communicator.close, reason)


def _finalize_at_exit(process: int) -> None:
    """End as an uncaught exception would, if an asynchronous call has failed: nobody else will ever see it.

    Only in the process that joined the world: a fork of it that ends is no end of the rank.
    """
    if os.getpid() != process:
        return
    try:
        finalize("has ended its script")
    except BaseException as error:
        client = control_client()
        if client is not None:
            client.failure(error)
        sys.excepthook(type(error), error, error.__traceback__)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        # Not sys.exit, which changes nothing here. MPI is left as it is: its end would wait for the other ranks.
        os._exit(exit_code_of(error))


@contextmanager
def using(communicator: Communicator) -> Iterator[Communicator]:
    """Make `communicator` the world of this thread (and context) inside of a `with` block."""
    communicator.groups.setdefault("world", communicator)
    token = _thread_world.set(communicator)
    try:
        yield communicator
    finally:
        _thread_world.reset(token)


def _leave_after_fork() -> None:
    """A forked child has a copy of the communicator, and nobody at the other ends who waits for it."""
    global _process_world
    _process_world = None


os.register_at_fork(after_in_child=_leave_after_fork)


class Present:
    """Where the world is found also later, by whoever relies on what it was."""

    @property
    def world(self) -> Communicator | None:
        """The world of this thread (and context)."""
        return _thread_world.get() or _process_world


_present = Present()


def present_world() -> Communicator | None:
    """The world of this thread, for whoever relies on nothing of it: no listener is told."""
    return _present.world


_question_listeners: list[Callable[[Present, Communicator | None], None]] = []


def add_question_listener(listener: Callable[[Present, Communicator | None], None]) -> None:
    """Call `listener` whenever somebody asks which world this is, or anything about it, with the answer."""
    _question_listeners.append(listener)


def _current() -> Communicator | None:
    world = _present.world
    for listener in _question_listeners:
        listener(_present, world)
    return world


def _alone(timeout: float | None) -> Communicator:
    world = connect(Membership(timeout=timeout))
    assert world is not None, "this process is in its own world"
    return world


def _world_from_environment(timeout: float | None) -> Communicator:
    global has_had_world
    info = RankInfo.from_environment()
    if info.source != "single" and not claim_rank(info):
        leave_job(info)
        return _alone(timeout)
    has_had_world = info.size > 1
    if info.size == 1:
        control_client()
        atexit.register(_finalize_at_exit, os.getpid())
        return _alone(timeout)
    from dtrain.collectives.transports.mpi_start import abort_on_exception, start_mpi
    from dtrain.collectives.transports.mpi_world import make_mpi_communicator
    from dtrain.collectives.world.launcher_absence import stand_in_for_launcher

    channel = control_client()
    if channel is not None:
        # MPI starts when all ranks do it; who watches knows of those that have left and never will.
        channel.send(Joining())
        channel.flush()  # the thread that sends would wait as long as MPI starts, which keeps the interpreter's lock
    comm = start_mpi(info)
    if channel is not None:
        channel.send(Joined())
    world = make_mpi_communicator(comm, timeout=timeout)
    atexit.register(_finalize_at_exit, os.getpid())  # before mpi4py finalizes MPI: what is registered last runs first
    if channel is None:
        abort_on_exception(comm)
        stand_in_for_launcher(world, info)
    return world
