"""Windows of `no_sync`: what a traced one leaves, what copies take along, and passes that begin before or after it."""

from __future__ import annotations

import contextlib
import copy
import pickle
from typing import Any

import numpy as np
import pytest
from helpers.one_process import EAGER_AND_TRACED, Net, batches, expect_gradients, gradients, mse

import dtrain as dt
from dtrain import collectives as dist
from dtrain import optim


@pytest.mark.parametrize("synchronized", [False, True])
def test_what_a_traced_window_has_left_is_read_where_it_lies(synchronized: bool, monkeypatch: Any) -> None:
    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            net = Net(norm=False)
            model, optimizer = dist.data_parallel(net), optim.SGD(net.parameters(), lr=0.5)
            part = dt.tensor(batches(4, 0)[2 * communicator.rank :][:2])

            @dt.trace
            def window(x: Any) -> None:
                with model.no_sync():
                    mse(model(x)).backward()

            for _ in range(2):
                window(part)
                if synchronized:
                    mse(model(part)).backward()
                optimizer.step()
                optimizer.zero_grad()
            return [p.numpy() for p in net.parameters()]

    one = Net(norm=False)
    optimizer = optim.SGD(one.parameters(), lr=0.5)
    for _ in range(2):
        for _ in range(1 + synchronized):
            mse(one(dt.tensor(batches(4, 0)))).backward()
        optimizer.step()
        optimizer.zero_grad()
    monkeypatch.setattr("dtrain.core.tensor.copy_of", lambda array: pytest.fail("a gradient was copied"))
    for values in dist.run_threads(2, program):
        for value, p in zip(values, one.parameters()):
            np.testing.assert_allclose(value, p.numpy(), rtol=1e-5, atol=1e-6)


@EAGER_AND_TRACED
def test_a_rank_of_weight_0_may_hold_nan_in_a_window(traced: bool) -> None:
    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            net = Net(norm=False)
            model = dist.data_parallel(net)
            part = dt.tensor(batches(3, 0)) if communicator.rank else dt.full((3, 4), float("nan"), dtype="f64")

            def window(x: Any, weight: Any) -> None:
                with model.no_sync(), dist.batch_weight(weight):
                    mse(model(x)).backward()

            (dt.trace(window) if traced else window)(part, dt.tensor(3.0 if communicator.rank else 0.0))
            optim.clip_grad_norm_(net.parameters(), 1e9)  # makes them whole
            return gradients(net)

    one = Net(norm=False)
    mse(one(dt.tensor(batches(3, 0)))).backward()
    for found in dist.run_threads(2, program):
        expect_gradients(found, gradients(one), atol=0)


def test_only_one_pass_of_a_backward_takes_in_what_waits() -> None:
    """The other is a mean of the communicator as ever: parts of the smallest f16 would be 0."""
    smallest = 2.0**-24

    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            net = dt.nn.Linear(1, 1, bias=False).to("f16")
            model = dist.data_parallel(net)
            nothing = dt.zeros((1, 1), dtype="f16")
            with model.no_sync():
                model(nothing).sum().backward()
            (model(dt.full((1, 1), smallest, dtype="f16")) + model(nothing)).sum().backward()
            return net.weight.grad.item()

    assert dist.run_threads(2, program) == [smallest] * 2


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("moment", ["in the window", "after it"])
def test_copies_are_in_no_window(twin_of: Any, moment: str) -> None:
    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            model = dist.data_parallel(Net(norm=False))
            part = dt.tensor(batches(2, communicator.rank))
            with model.no_sync():
                mse(model(part)).backward()
                twin = twin_of(model)
            if moment == "after it":
                mse(model(part)).backward()
                twin = twin_of(model)
            twin.zero_grad()
            mse(twin(part)).backward()
            return gradients(twin.module)

    one = Net(norm=False)
    mse(one(dt.tensor(np.concatenate([batches(2, 0), batches(2, 1)])))).backward()
    for found in dist.run_threads(2, program):
        expect_gradients(found, gradients(one))


def test_a_copy_of_one_parameter_is_without_the_others() -> None:
    def program(communicator: Any) -> int:
        with dist.using(communicator):
            model = dist.data_parallel(dt.nn.Sequential(dt.nn.Linear(300, 300), dt.nn.Linear(300, 2)))
            model(dt.ones((1, 300))).sum().backward()
            return len(pickle.dumps(model.module[1].bias))

    assert max(dist.run_threads(2, program)) < 10_000


def test_a_step_that_was_traced_before_the_model_was_wrapped() -> None:
    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            net = Net(norm=False)
            optimizer = optim.SGD(net.parameters(), lr=1.0)
            update = dt.trace(lambda: optimizer.step())
            for parameter in net.parameters():
                parameter.grad = dt.zeros_like(parameter.detach())
            update()
            model = dist.data_parallel(net)
            optimizer.zero_grad()
            with model.no_sync():
                mse(model(dt.tensor(batches(2, communicator.rank)))).backward()
            update()
            return [parameter.tolist() for parameter in net.parameters()]

    first, second = dist.run_threads(2, program)
    assert first == second


@EAGER_AND_TRACED
def test_what_waits_for_a_layer_of_two_models_is_taken_in_once(traced: bool) -> None:
    def program(net: Any, other: Any, models: Any, x: Any, window: Any) -> Any:
        def passes(x: Any) -> None:
            for model in models:
                with window(model):
                    mse(model(x)).backward()
            sum(mse(model(x)) for model in models).backward()

        (dt.trace(passes) if traced else passes)(x)
        return {**gradients(net), **{f"other {name}": value for name, value in gradients(other).items()}}

    def build() -> Any:
        net = Net(norm=False)
        other = Net(1, norm=False)
        other.first.weight = net.first.weight
        return net, other

    def on_rank(communicator: Any) -> Any:
        with dist.using(communicator):
            net, other = build()
            models = [dist.data_parallel(net), dist.data_parallel(other)]
            return program(net, other, models, dt.tensor(batches(2, communicator.rank)), dist.no_sync)

    ones = build()
    whole = dt.tensor(np.concatenate([batches(2, 0), batches(2, 1)]))
    wanted = program(*ones, ones, whole, lambda model: contextlib.nullcontext())
    for found in dist.run_threads(2, on_rank):
        expect_gradients(found, wanted)


def test_gradients_asked_for_by_a_hook_in_a_window_are_whole() -> None:
    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            net = Net(norm=False)
            model = dist.data_parallel(net)
            part = dt.tensor(batches(2, communicator.rank))
            asked: list[Any] = []
            calls: list[int] = []

            def ask(gradient: Any) -> None:
                calls.append(1)
                if len(calls) == 1:  # it is called for what it asks for as well
                    with dt.enable_grad():
                        asked.extend(dt.grad(mse(model(part)), [net.first.weight]))

            handle = net.last.bias.register_grad_hook(ask)
            with model.no_sync():
                mse(model(part)).backward()
            handle.remove()
            return asked[0].numpy()

    one = Net(norm=False)
    mse(one(dt.tensor(np.concatenate([batches(2, 0), batches(2, 1)])))).backward()
    for found in dist.run_threads(2, program):
        np.testing.assert_allclose(found, one.first.weight.grad.numpy(), rtol=1e-9)


def test_a_capture_that_fails_leaves_nothing_waiting() -> None:
    def program(communicator: Any) -> bool:
        with dist.using(communicator):
            net = Net(norm=False)
            model = dist.data_parallel(net)
            part = dt.tensor(batches(2, communicator.rank))

            @dt.trace
            def window(x: Any) -> None:
                with model.no_sync():
                    mse(model(x)).backward()
                raise FloatingPointError

            with pytest.raises(FloatingPointError):
                window(part)
            before = communicator.counters.as_dict()
            optim.clip_grad_norm_(net.parameters(), 1.0)
            return before == communicator.counters.as_dict()

    assert dist.run_threads(2, program) == [True] * 2
