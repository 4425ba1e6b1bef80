"""The nccl communicator: its logic on a CuPy and an NCCL of host memory, and the whole of it where there is a GPU."""

from __future__ import annotations

import importlib.util
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dtrain.base.errors import CollectiveError, CollectiveMismatchError, DeviceError, PeerLostError
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.memory.packed import address_of
from dtrain.collectives.programs.rank_order import reduce_by_blocks
from dtrain.collectives.transports import nccl_library
from dtrain.collectives.transports.nccl_communicator import NcclCommunicator
from dtrain.collectives.transports.self_communicator import SelfCommunicator
from dtrain.collectives.transports.thread_communicator import run_threads
from dtrain.collectives.world import context

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "helpers")]

import fake_cuda  # noqa: E402
from contract import CHECKS  # noqa: E402
from from_host import FromHost  # noqa: E402
from run_ranks import run_ranks  # noqa: E402

# What the contract says of memory of the host and of threads has no meaning for a device.
ON_DEVICES = [
    name
    for name in CHECKS
    if name not in ("memory_from_allocate_is_aligned_and_zero", "async_calls_run_beside_the_caller")
]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nccl_library, "load", lambda: (fake_cuda.cupy, fake_cuda.nccl))
    # CUDA kernels have their own tests and want the real CuPy.
    monkeypatch.setattr(NcclCommunicator, "_reduce", lambda self, parts, op, out: reduce_by_blocks(parts, op, out))


def on_fake_device(world: Communicator) -> FromHost:
    return FromHost(NcclCommunicator(world, 0), fake_cuda.cupy.asarray, fake_cuda.cupy.asnumpy)


@pytest.mark.usefixtures("fake")
def test_weights_may_lie_on_the_device() -> None:
    cupy = fake_cuda.cupy

    def program(world: Communicator) -> list[float]:
        communicator = NcclCommunicator(world, 0)
        results = []
        for weight, count in ((world.rank, world.rank), (1.0, world.rank), (0.0, 0.0), (1e308, 1e308)):
            array = cupy.asarray(np.array([world.rank + 1.0, np.nan if weight == 0 < world.rank else 1.0]))
            pair = cupy.asarray(np.array([weight, count], np.float64))
            with np.errstate(over="ignore"):  # a device does not warn of overflow
                results.append(float(communicator.all_reduce(array, op="mean", weight=pair)[0]))
        return results

    assert run_threads(3, program) == [[(2 * 1 + 3 * 2) / 3, 6 / 3, 2.0, 2.0]] * 3


@pytest.mark.usefixtures("fake")
def test_a_group_on_devices_leaves_the_name_to_the_group_of_its_hosts() -> None:
    def program(world: Communicator) -> None:
        on_device = NcclCommunicator(world, 0)
        world.adopt("world on cuda:0", on_device)  # as for the first call with an array of the GPU
        for text in ("world/0,1", "world/0,1#2"):
            group = on_device.split(0)
            assert group is not None and group.group == text == group.on_hosts.group
            assert world.groups[text] is group.on_hosts
            assert world.groups[f"{text} on cuda:0"] is group
        assert world.all_reduce(np.ones(1))[0] == 2

    run_threads(2, program)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ON_DEVICES)
def test_contract_on_a_fake(name: str, size: int) -> None:
    def program(world: Communicator) -> None:
        with np.errstate(all="ignore"):  # a device does not warn of overflow
            CHECKS[name](on_fake_device(world))

    run_threads(size, program)


@pytest.mark.usefixtures("fake")
def test_neighbours_in_one_buffer_are_sent_where_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    spans: list[int] = []

    def array_at(shape: tuple[int], dtype: type, memptr: memoryview) -> np.ndarray:
        spans.append(shape[0])
        return np.zeros(shape, dtype).view(fake_cuda.DeviceArray)

    class Array(fake_cuda.DeviceArray):
        def __new__(cls, shape: tuple[int], dtype: type, memptr: memoryview) -> np.ndarray:
            return array_at(shape, dtype, memptr)

    comm = NcclCommunicator(SelfCommunicator(), 0)
    buffer = fake_cuda.cupy.zeros(64, np.float32)
    pieces = [buffer[:3], buffer[16:20]]
    assert comm._message([pieces[0].copy(), pieces[1].copy()]).size == 80 and not spans
    monkeypatch.setattr(comm, "_cupy", type("cupy", (), {"ndarray": Array, "uint8": np.uint8}))
    comm._message(pieces)
    assert spans == [80]


@pytest.mark.usefixtures("fake")
def test_the_callers_stream_waits_for_the_end() -> None:
    comm = NcclCommunicator(SelfCommunicator(), 0)
    current = fake_cuda.cupy.cuda.get_current_stream()
    current.waited.clear()
    work = comm.all_reduce_async(fake_cuda.cupy.zeros(3))
    assert comm._stream.waited[-1].stream is current, "the work begins after what the caller has enqueued"
    assert not current.waited, "nobody waits before wait()"
    work.wait()
    assert [event.stream for event in current.waited] == [comm._stream]


@pytest.mark.usefixtures("fake")
def test_arrays_live_as_long_as_the_device_works_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy would hand the memory of `a * b` to the caller's next allocation while NCCL still reads it."""
    comm = NcclCommunicator(SelfCommunicator(), 0)
    event = SimpleNamespace(done=False)
    monkeypatch.setattr(comm._stream, "record", lambda: event)
    calls = {
        "all_reduce_async": lambda array: comm.all_reduce_async(array),
        "all_reduce_many_async": lambda array: comm.all_reduce_many_async([array]),
        "reduce_scatter_async": lambda array: comm.reduce_scatter_async(array),
        "all_gather_async": lambda array: comm.all_gather_async(array),
        "broadcast_async": lambda array: comm.broadcast_async(array),
        "all_to_all_async": lambda array: comm.all_to_all_async(array),
    }
    for name, call in calls.items():
        event.done = False
        source = fake_cuda.cupy.zeros(3)
        held = weakref.ref(source)
        call(source)
        del source
        assert held() is not None, name
        event.done = True
        comm.all_reduce(fake_cuda.cupy.zeros(1))
        assert held() is None, name


@pytest.mark.usefixtures("fake")
def test_nccl_gets_the_callers_memory_where_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    def program(world: Communicator) -> None:
        given: list[int] = []
        comm = NcclCommunicator(world, 0)
        gather = comm._link.allGather
        monkeypatch.setattr(
            comm._link, "allGather", lambda source, *rest: (given.append(source), gather(source, *rest)), raising=False
        )
        out = fake_cuda.cupy.zeros((2, 4), np.float32)
        apart, own, first = fake_cuda.cupy.zeros(4, np.float32), out[comm.rank], out[0]
        for source in (apart, own, first):
            source[...] = comm.rank + 1
            del given[:]
            gathered = comm.all_gather(source, out=out)
            assert gathered.tolist() == [[1] * 4, [2] * 4]
            is_allowed = source is not first or comm.rank == 0
            assert (address_of(source) in given) is is_allowed

    run_threads(2, program)


@pytest.mark.usefixtures("fake")
def test_host_arrays_are_refused() -> None:
    comm = NcclCommunicator(SelfCommunicator(), 0)
    with pytest.raises(DeviceError, match="expected a CuPy array, got ndarray; use the communicator of the hosts"):
        comm.all_reduce(np.zeros(3))
    far = fake_cuda.cupy.zeros(3)
    far.device = type(far.device)(id=2)
    with pytest.raises(DeviceError, match="an array on cuda:0, got cuda:2; move it there"):
        comm.all_reduce(far)


@pytest.mark.usefixtures("fake")
def test_agreement_can_be_left_out() -> None:
    class Parent(SelfCommunicator):
        def meet(self, text: str) -> None:
            raise CollectiveMismatchError(text)

    comm = NcclCommunicator(Parent(), 0, checks_calls=False)
    assert comm.all_reduce(fake_cuda.cupy.zeros(3)).tolist() == [0, 0, 0]
    with pytest.raises(CollectiveMismatchError, match="barrier"):
        comm.barrier()


@pytest.mark.usefixtures("fake")
def test_context_connects_devices_once_and_closes_them_first() -> None:
    with context.using(SelfCommunicator()):
        comm = context.get_communicator(device="cuda:0")
        assert comm.name == "nccl" and context.get_communicator(device="cuda:0") is comm
        assert context.get_communicator().name == "self"
        near, far = np.zeros(2), fake_cuda.cupy.zeros(2).view(OnCuda)
        assert context.communicator_for(near).name == "self"
        assert context.communicator_for(far) is comm
    comm.close()
    assert comm._link.is_destroyed


class OnCuda(fake_cuda.DeviceArray):
    """What an array shows that lives on a CUDA device."""

    __cuda_array_interface__: dict[str, object] = {}  # noqa: RUF012


class NoRoom(fake_cuda.DeviceArray):
    """An array for whose copy the device has no memory."""

    def reshape(self, *shape: int) -> np.ndarray:
        raise MemoryError("no room")


@pytest.mark.usefixtures("fake")
def test_a_call_that_breaks_off_breaks_the_device_and_its_parent_on_every_rank() -> None:
    def program(world: Communicator) -> None:
        comm = NcclCommunicator(world, 0)
        x = fake_cuda.cupy.zeros(3)
        with pytest.raises(MemoryError if world.rank == 1 else PeerLostError, match="no room"):
            comm.all_reduce(x.view(NoRoom) if world.rank == 1 else x)
        for call in (lambda: comm.all_reduce(x), comm.barrier, world.barrier, lambda: comm.split(0)):
            with pytest.raises(CollectiveError, match="broken"):
                call()
        assert comm._link.is_aborted
        comm.close()
        assert not comm._link.is_destroyed, "NCCL would wait for the others"

    run_threads(3, program)


@pytest.mark.usefixtures("fake")
def test_a_call_that_one_rank_refuses_is_missed_on_devices_too() -> None:
    def program(world: Communicator) -> None:
        comm = NcclCommunicator(world, 0)
        if world.rank == 0:
            with pytest.raises(DeviceError):
                comm.all_reduce(np.zeros(3))
        for _ in range(2):
            with pytest.raises(CollectiveMismatchError, match=r"rank 0: all_reduce sum f64\[3\] \(after 1 call"):
                comm.all_reduce(fake_cuda.cupy.zeros(3))
        world.barrier()

    run_threads(2, program)


@pytest.mark.usefixtures("fake")
def test_an_error_on_a_device_that_nobody_waits_for_is_raised_by_close() -> None:
    comm = NcclCommunicator(SelfCommunicator(), 0)
    comm.all_reduce_async(fake_cuda.cupy.zeros(3).view(NoRoom))
    with pytest.raises(MemoryError, match="no room"):
        comm.close()


def test_without_cupy_the_error_says_what_to_install() -> None:
    if importlib.util.find_spec("cupy") is not None:
        pytest.skip("CuPy is installed")
    with pytest.raises(
        DeviceError, match=r"CuPy with NCCL, got No module named 'cupy'; pip install 'dtrain\[cuda12\]'"
    ):
        NcclCommunicator(SelfCommunicator(), 0)


@pytest.mark.gpu
@pytest.mark.distributed
@pytest.mark.parametrize("reduction", ["rank_order", "nccl"])
def test_contract_on_a_gpu(reduction: str) -> None:
    """Two ranks on one GPU: NCCL takes them for two hosts when each has an NCCL_HOSTID of its own."""
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("no CuPy: install dtrain[cuda12] or dtrain[cuda13]")
    import cupy

    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        pytest.skip(f"no CUDA device: {error}")
    for verdicts in run_ranks(__file__, "gpu_program", 2, arguments={"reduction": reduction}, timeout=120):
        assert verdicts == dict.fromkeys(verdicts, "passed") and verdicts


def gpu_program(world: Communicator, reduction: str) -> dict[str, str]:
    import os

    import cupy

    os.environ |= {"NCCL_HOSTID": f"rank{world.rank}", "NCCL_SOCKET_IFNAME": "lo"}
    device = NcclCommunicator(world, 0, reduction=reduction)
    comm = FromHost(device, cupy.asarray, cupy.asnumpy)
    if reduction == "rank_order":
        for name in ON_DEVICES:
            CHECKS[name](comm)
        return dict.fromkeys(ON_DEVICES, "passed")
    for op, wanted in {"sum": 3.0, "mean": 1.5, "prod": 2.0, "min": 1.0, "max": 2.0}.items():
        for dtype in (np.float32, np.float64, np.float16):
            result = comm.all_reduce(np.full(1001, world.rank + 1, dtype), op=op)
            assert (result == wanted).all(), (op, dtype)
    return {"all_reduce": "passed"}
