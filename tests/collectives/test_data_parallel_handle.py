"""The handle around a data-parallel model: the same at every world size, and the model's attributes through it."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import dtrain as dt
from dtrain import collectives as dist
from dtrain import nn, optim

SIZES = [1, 2, 3]


class Net(nn.Module):
    def __init__(self) -> None:
        self.layer = nn.Linear(3, 2)
        self.unused = nn.Linear(2, 2)
        self.scale = 2.0

    def forward(self, x: dt.Tensor) -> dt.Tensor:
        return self.layer(x)

    def generate(self, x: dt.Tensor) -> dt.Tensor:
        """Calls the model from inside, as samplers do."""
        return self(x).argmax(dim=1)


@pytest.fixture(autouse=True)
def leave_the_world() -> Any:
    """A handle on one process joins a world of one, which other tests must not find."""
    yield
    dist.finalize()


def on_ranks(size: int, program: Any, *, wrap: Any = dist.data_parallel) -> list[Any]:
    def run(communicator: Any) -> Any:
        with dist.using(communicator):
            dt.default_generator().seed(communicator.rank)
            net = Net()
            return program(communicator.rank, net, wrap(net))

    return dist.run_threads(size, run)


@pytest.mark.parametrize("wrap", [dist.data_parallel, dist.DistributedDataParallel])
@pytest.mark.parametrize("size", SIZES)
def test_one_handle_at_every_world_size(size: int, wrap: Any) -> None:
    def program(rank: int, net: Net, model: Any) -> list[np.ndarray]:
        assert isinstance(model, dist.DataParallel) and model.module is net
        assert model.layer is net.layer and model.scale == 2.0
        x = dt.tensor(np.random.default_rng(rank).standard_normal((4, 3)).astype(np.float32))
        with model.no_sync():
            model(x).sum().backward()
        model(x).sum().backward()
        assert sorted(model.unused_parameters) == ["unused.bias", "unused.weight"]
        assert model.generate(x).shape == (4,)
        assert set(model.state_dict()) == set(net.state_dict())
        with pytest.raises(AttributeError, match="did you mean layer"):
            _ = model.layr
        return [model.layer.weight.numpy(), model.layer.weight.grad.numpy()]

    results = on_ranks(size, program, wrap=wrap)
    for weight, grad in results:
        np.testing.assert_array_equal(weight, results[0][0])
        np.testing.assert_array_equal(grad, results[0][1])


@pytest.mark.parametrize("size", SIZES)
def test_copies_and_pickles_are_handles_too(size: int) -> None:
    def program(rank: int, net: Net, model: Any) -> None:
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert isinstance(twin, dist.DataParallel) and twin.scale == 2.0
            assert bool((twin.layer.weight == net.layer.weight).all())

    on_ranks(size, program)


@pytest.mark.parametrize("size", [2, 3])
def test_a_loaded_handle_gives_every_rank_the_values_of_rank_0(size: int) -> None:
    """Those who load a pickle need not be the ranks that were equal when it was made."""

    def program(rank: int, net: Net, model: Any) -> None:
        x = dt.ones((2, 3))
        model(x)
        twin = pickle.loads(pickle.dumps(model))
        twin.layer.weight.assign_(dt.tensor(net.layer.weight.numpy() + rank))
        twin(x)
        np.testing.assert_array_equal(twin.layer.weight.numpy(), net.layer.weight.numpy())

    on_ranks(size, program)


@pytest.mark.parametrize("size", SIZES)
def test_states_fit_with_and_without_the_handle_and_from_pytorch(size: int) -> None:
    def program(rank: int, net: Net, model: Any) -> None:
        state = {name: tensor.numpy() + 1 for name, tensor in net.state_dict().items()}
        model.load_state_dict(state)
        np.testing.assert_array_equal(net.layer.bias.numpy(), state["layer.bias"])
        model.load_state_dict({f"module.{name}": value + 1 for name, value in state.items()})
        np.testing.assert_array_equal(net.layer.bias.numpy(), state["layer.bias"] + 1)
        with pytest.raises(KeyError, match="missing"):
            model.load_state_dict({"module.layer.bias": state["layer.bias"]})
        assert model.load_state_dict({}, strict=False).unexpected == []

    on_ranks(size, program)


def test_a_child_named_module_keeps_its_name() -> None:
    net = nn.Sequential({"module": nn.Linear(2, 2)})
    dist.data_parallel(net).load_state_dict(net.state_dict())


def test_arguments_of_pytorch_are_taken_and_others_are_not() -> None:
    with dist.using(dist.SelfCommunicator()):
        model = dist.DistributedDataParallel(
            Net(),
            device_ids=[0],
            output_device=0,
            find_unused_parameters=True,
            broadcast_buffers=False,
            bucket_cap_mb=1,
        )
        assert isinstance(model, dist.DataParallel)
        optim.SGD(model.parameters(), 0.1).step()
        with pytest.raises(TypeError, match="got bucket_size"):
            dist.DistributedDataParallel(Net(), bucket_size=3)


@pytest.mark.parametrize("traced", [False, True])
def test_other_methods_of_the_model_are_passes_too(traced: bool) -> None:
    """`handle.encode(x)` is averaged like `handle(x)`; a penalty, which is given no batch, comes as it is."""

    class Coder(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(3, 2).to("f64")
            self.layer.weight.assign_(dt.tensor(np.arange(6.0).reshape(2, 3)))
            self.layer.bias.assign_(dt.tensor(np.ones(2)))

        def forward(self, x: Any) -> Any:
            return self.layer(x)

        def encode(self, x: Any) -> Any:
            return self(x) + self.layer.bias

        def penalty(self) -> Any:
            return (self.layer.weight**2).sum()

    def gradients(model: Any, net: Any, x: np.ndarray) -> list[np.ndarray]:
        def step(x: Any) -> None:
            ((model.encode(x) ** 2).mean() + model.penalty()).backward()

        (dt.trace(step) if traced else step)(dt.tensor(x))
        return [p.grad.numpy().copy() for p in net.parameters()]

    whole, one = np.random.default_rng(0).standard_normal((5, 3)), Coder()

    def program(communicator: Any) -> list[np.ndarray]:
        with dist.using(communicator):
            net = Coder()
            return gradients(dist.data_parallel(net), net, whole[:4] if communicator.rank == 0 else whole[4:])

    wanted = gradients(one, one, whole)
    for found in dist.run_threads(2, program):
        for mine, other in zip(found, wanted):
            np.testing.assert_allclose(mine, other, rtol=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_attributes_are_set_and_deleted_where_they_are_read(size: int) -> None:
    def program(rank: int, net: Net, model: Any) -> None:
        model.scale = 5.0
        model.layer = nn.Linear(3, 2)
        model.added = nn.Linear(2, 2)
        model.register_buffer("mean", dt.zeros(2))
        model.register_parameter("bias", dt.Parameter(np.zeros(2, np.float32)))
        assert net.scale == model.scale == 5.0
        assert net.layer is model.layer and net.added is model.added and net.bias is model.bias
        assert "mean" in net.state_dict() and model.mean is net.mean
        assert len(list(model.parameters())) == len(list(net.parameters())) == 7
        model.scale += 1.0
        assert net.scale == 6.0
        del model.added, model.scale
        assert not hasattr(net, "added") and not hasattr(model, "scale")
        with pytest.raises(AttributeError):
            del model.nothing
        model.eval()
        assert not net.training
        twin = copy.deepcopy(model)
        twin.scale = 3.0
        assert twin.module.scale == 3.0 and not hasattr(net, "scale")
        model.module = other = Net()
        model.scale = 7.0
        assert other.scale == 7.0 and "scale" not in vars(model)

    on_ranks(size, program)


class Streaming(nn.Module):
    def __init__(self) -> None:
        self.layer = nn.Linear(1, 1)

    def parts(self, x: dt.Tensor) -> Any:
        yield self.layer(x)

    async def later(self, x: dt.Tensor) -> Any:
        return self.layer(x)


@pytest.mark.parametrize("name", ["parts", "later"])
def test_a_method_that_computes_after_its_call_is_refused(name: str) -> None:
    def program(communicator: Any) -> None:
        with dist.using(communicator):
            model, x = dist.data_parallel(Streaming()), dt.ones(2, 1)
            with pytest.raises(TypeError, match=rf"expected {name}\(\) to compute while it is called"):
                getattr(model, name)(x)
            with dt.no_grad():
                assert len([part.shape for part in model.parts(x)]) == 1

    dist.run_threads(2, program)
