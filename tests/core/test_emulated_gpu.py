"""Tensors, training and traced graphs on emulated GPUs: what needs no GPU to be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.cuda_emulation import emulated_module
from helpers.cuda_emulation.emulated_cupy import emulated_cuda
from helpers.device_training import OPTIMIZERS, train

import dtrain as dt
import dtrain.functional as F
from dtrain import collectives
from dtrain.base.errors import DeviceError
from dtrain.collectives.transports.self_communicator import SelfCommunicator
from dtrain.collectives.transports.thread_communicator import run_threads
from dtrain.core.apply import apply
from dtrain.core.random import normal
from dtrain.graph.op import Op
from dtrain.kernels import Candidate, kernels_of, register_kernel
from dtrain.runtime import dispatch

pytestmark = pytest.mark.emulation


@pytest.fixture(scope="module", autouse=True)
def _emulated() -> Iterator[None]:
    if emulated_module.COMPILER is None:
        pytest.skip("no host C++ compiler to run the CUDA sources with")
    with emulated_cuda():
        yield


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("traced", [False, True])
def test_training_gives_the_losses_of_the_cpu(optimizer: str, traced: bool) -> None:
    wanted, wanted_state = train("small", optimizer, "cpu", steps=3)
    got, state = train("small", optimizer, "cuda:1", steps=3, traced=traced)  # cuda:0 is the current one
    np.testing.assert_allclose(got, wanted, rtol=1e-5)
    for name, array in wanted_state.items():
        np.testing.assert_allclose(state[name], array, rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_traced_step_runs_the_cuda_kernels() -> None:
    weight = dt.nn.Parameter(dt.ones(5, device="cuda:0"))
    optimizer = dt.optim.SGD([weight], lr=0.1, momentum=0.9)

    @dt.trace
    def step(x: dt.Tensor) -> dt.Tensor:
        optimizer.zero_grad()
        loss = (weight * x).sum()
        loss.backward()
        optimizer.step()
        return loss

    step(dt.ones(5, device="cuda:0"))
    names = [name for compiled in step.compiled for name in compiled.executor.kernel_names]
    assert "sgd_update_f32_cuda" in names
    assert weight.device is dt.device("cuda:0")


def test_a_traced_function_may_cross_devices() -> None:
    @dt.trace
    def function(x: dt.Tensor) -> tuple[dt.Tensor, dt.Tensor]:
        on_gpu = (x * 2).to("cuda:0") + 1
        return on_gpu, (on_gpu * on_gpu).to("cpu") - x

    for start in (0, 5):
        x = dt.arange(start, start + 4, dtype="f32")
        on_gpu, back = function(x)
        assert (str(on_gpu.device), str(back.device)) == ("cuda:0", "cpu")
        np.testing.assert_array_equal(on_gpu.numpy(), x.numpy() * 2 + 1)
        np.testing.assert_array_equal(back.numpy(), (x.numpy() * 2 + 1) ** 2 - x.numpy())


def test_kernels_get_workspaces_on_their_gpu() -> None:
    """Lent by CuPy's pool eagerly, planned in the arena of that GPU in a trace; another GPU is current."""
    op = Op(name="test_scratch_negative", infer=lambda x: x)
    given = []

    def negative(x, *, out, workspace) -> None:
        given.append((workspace.nbytes, workspace.device.id))
        workspace.fill(255)
        out[...] = -x

    if not kernels_of(op.name):
        register_kernel(
            Candidate(op=op.name, name=op.name, isa="reference", function=negative, workspace=lambda problem: 128)
        )
    x = dt.arange(3, dtype="f32", device="cuda:1")
    function = dt.trace(lambda x: apply(op, x * 2))
    for result in (apply(op, x * 2), function(x)):
        np.testing.assert_array_equal(result.numpy(), [0, -2, -4])
        assert str(result.device) == "cuda:1"
    assert given == [(128, 1), (128, 1)]
    assert [str(device) for device in function.compiled[0].executor.plan.arenas] == ["cuda:1"]


def test_columns_of_convolutions_lie_in_the_arena(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is allocated within a call; chunks of one image, of several, and of all of the batch."""
    from dtrain.kernels.cuda import convolution

    x, w = (dt.arange(n, dtype="f32", device="cuda:1").reshape(shape) / n for n, shape in [
        (90, (3, 1, 5, 6)), (18, (2, 1, 3, 3))])  # fmt: skip
    w.requires_grad_()
    wanted = None
    for limit in (1, 2 * 9 * 12 * 4, 1 << 28):
        monkeypatch.setattr(convolution, "MAX_COLUMN_BYTES", limit)
        dispatch._forget()  # choices are kept with the bytes that they ask for

        @dt.trace
        def step(x: dt.Tensor) -> tuple[dt.Tensor, dt.Tensor]:
            w.grad = None
            x.requires_grad_()
            x.grad = None
            y = F.conv2d(x, w)
            (y * y).sum().backward()
            return y, w.grad * 1

        got = [tensor.numpy() for tensor in step(x)]
        wanted = got if wanted is None else wanted
        for mine, right in zip(got, wanted):
            np.testing.assert_allclose(mine, right, rtol=1e-5)
        plan = step.compiled[0].executor.plan
        asked = {node.op.name: storage.nbytes for node, storage in plan.workspaces.items()}
        images = {1: 1, 2 * 9 * 12 * 4: 2, 1 << 28: 3}[limit]
        columns = 9 * images * 12 * 4
        assert columns <= asked["conv2d"] and columns <= asked["conv2d_backward_weights"], (images, asked)
        assert max(asked.values()) < columns + 2 * images * 12 * 4 + 3 * 64 + 72, (images, asked)


def test_gradients_cross_devices_and_sums_stay_where_they_are() -> None:
    x = dt.tensor([1.0, 2.0], requires_grad=True)
    y = (x.to("cuda:1") ** 2).to("cuda:0").sum()
    y.backward()
    assert str(y.device) == "cuda:0" and str(x.grad.device) == "cpu"
    np.testing.assert_array_equal(x.grad.numpy(), [2, 4])


def test_mixing_devices_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"add: expected inputs on one device, got f32\[3\]@cuda:0, f32\[3\]@cpu"):
        dt.zeros(3, device="cuda:0") + dt.zeros(3)


def test_random_numbers_are_those_of_the_cpu() -> None:
    def draw(device: str) -> np.ndarray:
        dt.seed(3)
        return normal((17,), device=device).numpy()

    np.testing.assert_array_equal(draw("cuda:0"), draw("cpu"))


def test_numbers_beside_tensors_are_constants_on_the_gpu() -> None:
    """Moving them in every run would make each step wait for a copy."""

    @dt.trace
    def function(x: dt.Tensor) -> dt.Tensor:
        return (x * 2.5 + 1) / x.shape[0]

    x = dt.arange(3, dtype="f32", device="cuda:0")
    np.testing.assert_allclose(function(x).numpy(), (np.arange(3) * 2.5 + 1) / 3, rtol=1e-6)
    (graph,) = function.graphs
    assert "to_device" not in {node.op.name for node in graph.nodes}
    assert not graph.states


def test_what_is_outside_of_ops_stays_on_the_gpu_of_its_tensor() -> None:
    """Another GPU is current all the time."""
    x = dt.tensor([1.0, 2.0, 3.0], device="cuda:1")
    made = {
        "tensor": dt.tensor(x),
        "tensor of another dtype": dt.tensor(x.array, dtype="f64"),
        "like": dt.zeros_like(x),
        "contiguous copy of a view": x.reshape(3, 1).broadcast_to((3, 2)).reshape(6),
        "transposed": dt.arange(6, dtype="f32", device="cuda:1").reshape(2, 3).transpose(1, 0).reshape(6),
    }
    weight = dt.nn.Parameter(x)
    optimizer = dt.optim.Adam([weight], lr=0.1)
    (weight * weight).sum().backward()
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.01
    optimizer.step()
    made |= {"gradient": weight.grad, "parameter": weight, "overwritten": x.detach().assign_(dt.ones_like(x))}
    for name, tensor in made.items():
        assert (str(tensor.device), tensor.array.device.id) == ("cuda:1", 1), name


def test_cuda_without_a_number_is_the_current_gpu() -> None:
    import cupy

    assert str(dt.zeros(1, device="cuda").device) == "cuda:0"
    with cupy.cuda.Device(1):
        assert str(dt.zeros(1, device="cuda").device) == "cuda:1"
        assert str(dt.zeros(1, device="gpux").device) == "cuda:1"
        assert str(dt.zeros(1).to("cuda").device) == "cuda:1"
    assert str(dt.zeros(1, device="cuda").device) == "cuda:0"


def test_every_rank_takes_the_gpu_of_its_local_rank() -> None:
    import cupy

    def program(world: object) -> tuple[str, str]:
        first = str(dt.zeros(1, device="cuda").device)
        with cupy.cuda.Device(0):
            return first, str(dt.zeros(1, device="cuda").device)

    # Two GPUs here: the third rank shares the first one.
    assert run_threads(3, program) == [("cuda:0", "cuda:0"), ("cuda:1", "cuda:0"), ("cuda:0", "cuda:0")]


def test_joining_the_world_takes_the_gpu_of_the_local_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    place = {"RANK": 5, "SIZE": 8, "LOCAL_RANK": 1, "LOCAL_SIZE": 4, "NODE_RANK": 1}
    for name, number in place.items():
        monkeypatch.setenv(f"OMPI_COMM_WORLD_{name}", str(number))

    def joined() -> str:
        collectives.init(SelfCommunicator())
        try:
            return str(dt.zeros(1, device="cuda").device)
        finally:
            collectives.finalize()

    with ThreadPoolExecutor(1) as fresh:  # a thread that has chosen no GPU yet
        assert fresh.submit(joined).result() == "cuda:1"


BAD_INDICES = {
    "x[i]": (lambda x, i: x[i], IndexError, "take at test_emulated_gpu"),
    "embedding": (lambda x, i: F.embedding(i, x), ValueError, "embedding"),
    "index_put": (lambda x, i: _written(x, i), IndexError, "index_put"),
    "gather": (lambda x, i: F.gather(x, 0, i.reshape(2, 1)), ValueError, "gather"),
    "scatter": (lambda x, i: F.scatter(x, 0, i.reshape(2, 1), x[:2, :1]), ValueError, "scatter"),
    "one_hot": (lambda x, i: F.one_hot(i, 3), ValueError, "one_hot"),
    "index_select": (lambda x, i: F.index_select(x, 0, i), Exception, "index|take"),
    "cross_entropy": (lambda x, i: F.cross_entropy(x[:2], i), ValueError, "softmax_cross_entropy"),
}


def _written(x: dt.Tensor, index: dt.Tensor) -> dt.Tensor:
    y = x * 1
    y[index] = 0.0
    return y


@pytest.mark.parametrize("name", BAD_INDICES)
@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
def test_an_index_out_of_range_is_an_error_when_numbers_come_to_the_host(name: str, traced: bool) -> None:
    """CuPy wraps it in silence; to look at once would make the host wait in every call."""
    call, error, where = BAD_INDICES[name]
    function = dt.trace(call) if traced else call
    x = dt.arange(9, dtype="f32", device="cuda:1").reshape(3, 3)
    good, bad = (dt.tensor([0, last], device="cuda:1") for last in (2, 7))
    function(x, good).numpy()
    result = function(x, bad)
    with pytest.raises(error, match=f"{where}.*got 7.*found on GPU 1 after"):
        result.numpy()
    function(x, good).numpy()
