"""What `dist.init` does where mpirun or srun has started the ranks and no launcher of ours: watch, and divide cores."""

from __future__ import annotations

import atexit
import os
import platform
import secrets
from typing import NamedTuple

from dtrain.base.cores import THREAD_VARIABLES, share_of_cores, usable_cores
from dtrain.base.library_threads import set_num_threads
from dtrain.base.network import own_addresses
from dtrain.base.rank_info import RankInfo
from dtrain.collectives.communicator.contract import Communicator
from dtrain.control.client import ControlClient, connect_control


class _Place(NamedTuple):
    host: str
    cores: list[int]


def stand_in_for_launcher(world: Communicator, info: RankInfo) -> ControlClient:
    """Give each rank its share of its host's cores and let rank 0 serve the control channel. All ranks call it."""
    mine = _Place(platform.node(), sorted(os.sched_getaffinity(0)))
    places: list[_Place] = world.all_gather_object(mine)
    masks = [place.cores for place in places if place.host == mine.host]
    given = [name for name in THREAD_VARIABLES if os.environ.get(name)]
    if "OMP_NUM_THREADS" not in given:
        # NumPy is loaded by now, with a thread for every core of the host in every rank.
        set_num_threads(share_of_cores(mine.cores, usable_cores(), masks), but_for=given)
    return _share_control_channel(world, info, is_one_host=len(masks) == world.size)


def _share_control_channel(world: Communicator, info: RankInfo, *, is_one_host: bool) -> ControlClient:
    """Rank 0 serves. It listens on the loopback interface unless there are ranks on other hosts, which try all of its
    addresses: which one their network shows, only they can tell.
    """
    address = token = ""
    if info.rank == 0:
        from dtrain.control.server import ControlServer

        token = secrets.token_hex(16)
        server = (
            ControlServer(token=token)
            if is_one_host
            else ControlServer("0.0.0.0", advertised_hosts=own_addresses(), token=token)
        )
        atexit.register(server.close)
        address = server.address
    address, token = world.broadcast_object((address, token))
    client = connect_control(address, token, info=info)
    # The server goes with rank 0, whose script may have nothing more to do: the others have to be connected before.
    world.barrier()
    return client
