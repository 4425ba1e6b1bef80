"""What is measured side by side."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from dtrain.base import dtype as dtypes
from dtrain.base.errors import CollectiveError
from dtrain.bench.collectives.contestants import PEERS, Contestant, Copy, Ours, OursInWindow, PeerGloo, PeerMpi
from dtrain.bench.collectives.exact_data import count_wrong, expected_result
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.transports.self_communicator import SelfCommunicator
from dtrain.collectives.transports.thread_communicator import run_threads


@pytest.mark.parametrize("kind", [Ours, OursInWindow])
@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.bfloat16, dtypes.bool_, dtypes.int8], ids=str)
def test_ours_are_exact_and_can_be_loaded_again(kind: type[Contestant], dtype: dtypes.DType) -> None:
    def program(world: Communicator) -> None:
        contestant = kind(world, dtype, "sum", 5000)
        for count in (0, 1, 5000, 17):
            contestant.load(count)
            for _ in range(2):
                contestant.run()
            assert contestant.out.size == count
            assert count_wrong(contestant.out, expected_result(count, 3, dtype, "sum")) == 0
            assert contestant.algorithm().startswith("shared_")

    run_threads(3, program)


def test_loading_spoils_the_output() -> None:
    contestant = Ours(SelfCommunicator(), dtypes.float32, "sum", 4)
    contestant.load(4)
    contestant.run()
    contestant.load(4)
    assert count_wrong(contestant.out, expected_result(4, 1, dtypes.float32, "sum")) == 4


def test_copy_copies() -> None:
    contestant = Copy(SelfCommunicator(), dtypes.float32, "sum", 4)
    contestant.load(4)
    contestant.run()
    assert np.array_equal(contestant.out, contestant.source)


def test_peers_say_why_they_cannot() -> None:
    assert {"mpi": PeerMpi, "gloo": PeerGloo} == PEERS
    pytest.importorskip("mpi4py", reason="no mpi4py")
    with pytest.raises(
        CollectiveError, match="--peers mpi: expected a dtype that MPI reduces, got bf16; use -d float32"
    ):
        PeerMpi(SelfCommunicator(), dtypes.bfloat16, "sum", 1)


def test_a_missing_torch_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        CollectiveError, match=r"--peers gloo: expected PyTorch, got none; pip install 'dtrain\[peers\]'"
    ):
        PeerGloo(SelfCommunicator(), dtypes.float32, "sum", 1)
