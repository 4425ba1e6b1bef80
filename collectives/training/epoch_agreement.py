"""Do all ranks go through the same epoch of the same data? Sent as schedules are, without waiting for anybody.

The first time that a rank begins an epoch of a loader which shares its samples out, it sends what must be alike: place,
length, seed, batch size. It also says whether the epoch before, if that led here by itself, had collectives in it: a
rank that went through a whole epoch alone has not, and stands one epoch further than the others from then on.
"""

from __future__ import annotations

import hashlib
import weakref
from collections import Counter
from dataclasses import dataclass

from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.world.context import get_communicator, is_initialized
from dtrain.control.client import control_client
from dtrain.data.epoch_start import EpochStart


@dataclass(slots=True)
class _Seen:
    name: str  # of the loader: length, and its place among those of that length in the order of first epochs
    epoch: int
    num_collectives: int  # of the world, when the latest iteration of that epoch began


_loaders: weakref.WeakKeyDictionary[object, _Seen] = weakref.WeakKeyDictionary()
_num_loaders: weakref.WeakKeyDictionary[Communicator, Counter[int]] = weakref.WeakKeyDictionary()


def send_epoch(loader: object, start: EpochStart) -> None:
    """Send the beginning of an epoch, once for each epoch. Without a control channel does nothing."""
    client = control_client() if is_initialized() else None
    if client is None or get_communicator().size == 1:
        return
    world = get_communicator()
    num_collectives = world.counters.collective_calls
    seen = _loaders.get(loader)
    if seen is not None and seen.epoch == start.epoch:
        seen.num_collectives = num_collectives
        return
    text = f"epoch {start.epoch} {start.settings}"
    if seen is not None and start.came_by_itself:
        was_alone = num_collectives == seen.num_collectives
        text += f", after an epoch {'without' if was_alone else 'with'} collectives"
    name = seen.name if seen is not None else _new_name(world, start.length)
    _loaders[loader] = _Seen(name, start.epoch, num_collectives)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    client.send_schedule(name, start.epoch, digest, text)


def _new_name(world: Communicator, length: int) -> str:
    counts = _num_loaders.setdefault(world, Counter())
    counts[length] += 1
    return f"data loader {counts[length]} of {length} samples"
