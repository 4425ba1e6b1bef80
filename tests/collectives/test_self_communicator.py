"""The world of one, beyond the contract."""

from __future__ import annotations

import numpy as np
import pytest

from dtrain.base.errors import CollectiveError
from dtrain.collectives.transports.self_communicator import SelfCommunicator


def test_results_are_copies() -> None:
    array = np.ones(3)
    result = SelfCommunicator().all_reduce(array)
    result[:] = 7
    assert array.tolist() == [1, 1, 1]


def test_a_message_that_cannot_come_is_an_error_at_once() -> None:
    with pytest.raises(CollectiveError, match="recv with tag 4 in a world of one: expected a message that"):
        SelfCommunicator().recv(source=0, tag=4)


def test_abort_ends_the_process_with_the_code() -> None:
    with pytest.raises(SystemExit) as caught:
        SelfCommunicator().abort(17)
    assert caught.value.code == 17


def test_closed_communicators_say_so() -> None:
    comm = SelfCommunicator()
    comm.close()
    with pytest.raises(CollectiveError, match="collectives of world: expected an open communicator"):
        comm.barrier()
