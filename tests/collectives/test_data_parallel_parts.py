"""Layers of a data-parallel model that are called beside it: each such call is a pass of its own."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from helpers.one_process import EAGER_AND_TRACED

import dtrain as dt
import dtrain.functional as F
from dtrain import collectives as dist
from dtrain import nn
from dtrain.collectives.training.forward_pass import calling, is_calling


class Net(nn.Module):
    def __init__(self) -> None:
        self.body = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 2)
        self.to("f64")
        rng = np.random.default_rng(3)
        for parameter in self.parameters():
            parameter.assign_(dt.tensor(rng.standard_normal(parameter.shape)))

    def forward(self, x: Any) -> Any:
        return self.head(self.norm(self.body(x)))

    def encode(self, x: Any) -> Any:
        return self.norm(self.body(x))

    def later(self, x: Any) -> Any:
        return lambda: self.head(self.encode(x))

    def pairs(self, x: Any) -> Any:
        """Layers see three rows for every sample."""
        rows = x.reshape(-1, 1).broadcast_to((x.size, 3))
        return self.head(F.tanh(self.body(rows))).reshape(len(x), 6)


CALLS: dict[str, Any] = {
    "a layer of the handle": lambda model, x: model.head(x),
    "layers one behind the other": lambda model, x: model.head(model.body(x)),
    "a layer of a layer": lambda model, x: model.body[0](x),
    "a layer of the model inside": lambda model, x: inner(model).head(x),
    "a method of the model inside": lambda model, x: inner(model).encode(x),
    "its method by the class": lambda model, x: Net.encode(inner(model), x),
    "a closure": lambda model, x: model.later(x)(),
    "a closure of the model inside": lambda model, x: inner(model).later(x)(),
    "more rows than samples": lambda model, x: inner(model).pairs(x),
    "beside the model": lambda model, x: model.head(x) * 0.5 + model(x),
    "a penalty through a layer": lambda model, x: (model(x), model.head(dt.ones((2, 3), dtype="f64"))),
    "a copied layer": lambda model, x: model.twin(x),
}


def inner(model: Any) -> Any:
    return model.module if isinstance(model, dist.DataParallel) else model


@EAGER_AND_TRACED
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_calls_beside_the_model_give_the_gradients_of_one_process(name: str, waits: bool, traced: bool) -> None:
    whole = np.random.default_rng(0).standard_normal((6, 3))

    def gradients(net: Any, model: Any, x: Any, trace: Any) -> Any:
        net.twin = copy.deepcopy(net.head) if name == "a copied layer" else None

        def step(x: Any) -> None:
            outputs = CALLS[name](model, x)
            sum((y**2).mean() for y in (outputs if isinstance(outputs, tuple) else (outputs,))).backward()

        step = trace(step)
        if waits:
            with dist.no_sync(model):
                step(x)
        step(x)
        return {name: None if p.grad is None else p.grad.numpy().copy() for name, p in net.named_parameters()}

    def on_rank(communicator: Any) -> Any:
        with dist.using(communicator):
            net = Net()
            model = dist.data_parallel(dist.convert_sync_batch_norm(net))
            x = dt.tensor(np.split(whole, [4, 5])[communicator.rank])
            return gradients(model.module, model, x, dt.trace if traced else lambda f: f)

    one = Net()
    wanted = gradients(one, one, dt.tensor(whole), lambda f: f)
    for found in dist.run_threads(3, on_rank):
        for key, value in wanted.items():
            assert (found[key] is None) == (value is None), key
            if value is not None:
                np.testing.assert_allclose(found[key], value, rtol=1e-9, atol=1e-12, err_msg=key)


def test_layers_are_those_of_the_model_and_new_ones_become_equal() -> None:
    def on_rank(communicator: Any) -> Any:
        with dist.using(communicator):
            model = dist.data_parallel(Net())
            assert model.head is model.module.head
            model.head = nn.Linear(3, 2).to("f64")
            model.head.weight.assign_(dt.full((2, 3), 1.0 + communicator.rank, dtype="f64"))
            model.encode(dt.ones((2, 3), dtype="f64")).sum().backward()
            model.body(dt.ones((1, 3), dtype="f64")).sum().backward()
            assert model.unused_parameters == ["head.weight", "head.bias"]
            model.zero_grad()
            model.head(dt.full((1, 3), 1.0 + communicator.rank, dtype="f64")).sum().backward()
            again = dist.data_parallel(model.module, bucket_mb=0)
            again.zero_grad()
            twin = pickle.loads(pickle.dumps(copy.deepcopy(again)))
            twin.head(dt.full((1, 3), 1.0 + communicator.rank, dtype="f64")).sum().backward()
            return model.head.weight.tolist(), twin.head.weight.grad.tolist(), again.head.weight.grad

    assert dist.run_threads(2, on_rank) == [([[1.0] * 3] * 2, [[1.5] * 3] * 2, None)] * 2


def test_on_one_rank_alone_nothing_is_sent() -> None:
    """A look at a layer, with and without gradients recorded, as for a picture of what it has learned."""

    def on_rank(communicator: Any) -> Any:
        with dist.using(communicator):
            model = dist.data_parallel(Net())
            before = communicator.counters.as_dict()
            if communicator.rank == 0:
                model.head(dt.ones((1, 3), dtype="f64"))
                with dt.no_grad():
                    model.module.encode(dt.ones((4, 3), dtype="f64"))
            return before == communicator.counters.as_dict()

    assert all(dist.run_threads(2, on_rank))


@pytest.mark.parametrize("size", [1, 2])
def test_names_are_those_of_the_state(size: int) -> None:
    def on_rank(communicator: Any) -> Any:
        with dist.using(communicator):
            net = Net()
            model = dist.data_parallel(net)
            outer = nn.Sequential({"part": model})
            for some, start in ((model, ""), (outer, "part.")):
                names = {*dict(some.named_parameters()), *dict(some.named_buffers())}
                assert names == set(some.state_dict()) == {start + name for name in net.state_dict()}
            assert dict(model.named_modules()) == dict(net.named_modules())
            assert model.get_module("head") is net.head
            model.eval()
            assert not net.head.training and not model.training

    dist.run_threads(size, on_rank)


def test_a_layer_that_comes_later_is_averaged_from_the_next_call_on() -> None:
    def on_rank(communicator: Any) -> Any:
        with dist.using(communicator):
            model = dist.data_parallel(Net())
            model.head = nn.Linear(3, 2).to("f64")
            model(dt.ones((2, 3), dtype="f64"))
            model.head(dt.full((1, 3), 1.0 + communicator.rank, dtype="f64")).sum().backward()
            return model.head.weight.grad.tolist()

    assert dist.run_threads(2, on_rank) == [[[1.5] * 3] * 2] * 2


class Scaled(nn.Module):
    def __init__(self) -> None:
        self.weight = nn.Parameter(dt.ones(3))

    def forward(self, scale: Any) -> Any:
        return self.weight * scale


def test_without_a_batch_a_layer_is_an_ordinary_call() -> None:
    def on_rank(communicator: Any) -> Any:
        with dist.using(communicator):
            model = dist.data_parallel(nn.Sequential(Scaled()))
            before = communicator.counters.as_dict()
            model.module[0](dt.tensor(1.0 + communicator.rank)).sum().backward()
            assert before == communicator.counters.as_dict()
            return model.module[0].weight.grad.tolist()

    assert dist.run_threads(2, on_rank) == [[1.0] * 3, [2.0] * 3]


def test_a_model_that_another_calls_is_being_called_as_well() -> None:
    outer, inner = object(), object()
    with calling(outer):
        with calling(inner):
            assert is_calling(outer) and is_calling(inner)
        assert is_calling(outer) and not is_calling(inner)
    assert not is_calling(outer)
