"""Each part of a gradient by its own rule: what passes through a data-parallel model is averaged, the rest stays.

Every case is one training step on ranks, compared with one process that has the whole batch, and between ranks bit by
bit.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.one_process import EAGER_AND_TRACED, FEATURES, Net, Step, batches, check, gradients, mse

import dtrain as dt
import dtrain.functional as F
from dtrain import collectives as dist
from dtrain.nn.batch_norm import BatchNorm1d

# Terms of the loss beside the model -----------------------------------------------------------------------------------


def penalties(model: Any, net: Any, part: Any) -> None:
    squares = sum(F.square(p).sum() for p in net.parameters())
    (mse(model(part(0))) + 0.1 * squares).backward()


def scale_read_in_forward(model: Any, net: Any, part: Any) -> None:
    """γ is a batch norm's weight and, beside it, a factor of the loss."""
    (mse(model(part(0))) + (net.norm.weight * net.norm.bias).sum()).backward()


def penalty_alone(model: Any, net: Any, part: Any) -> None:
    mse(model(part(0))).backward()
    sum(F.square(p).sum() for p in net.parameters()).backward()


@EAGER_AND_TRACED
@pytest.mark.parametrize("sizes", [[4, 2], [3, 0, 2], [1, 2, 3, 1, 1]])
@pytest.mark.parametrize("step", [penalties, scale_read_in_forward, penalty_alone], ids=lambda step: step.__name__)
def test_terms_beside_the_model_come_as_they_are(step: Step, sizes: list[int], traced: bool) -> None:
    check(step, [sizes], traced=traced)


class Tied(Net):
    """γ of one batch norm is that of another, a layer's bias, and a factor in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.second_norm = BatchNorm1d(FEATURES).to("f64")
        self.second_norm.weight = self.norm.weight
        self.first.bias = self.norm.weight

    def forward(self, x: Any) -> Any:
        return super().forward(self.second_norm(x) * self.norm.weight) + self.norm.bias.sum()


@EAGER_AND_TRACED
def test_a_parameter_with_several_uses_in_forward(traced: bool) -> None:
    check(penalties, [[4, 2]], traced=traced, build=Tied)
    check(lambda model, net, part: mse(model(part(0))).backward(), [[1, 2, 3]], traced=traced, build=Tied)


# Passes ---------------------------------------------------------------------------------------------------------------


def two_forwards_then_two_backwards(model: Any, net: Any, part: Any) -> None:
    first, second = mse(model(part(0))), mse(model(part(1)) * 3.0)
    first.backward()
    second.backward()


def two_backwards_in_turn(model: Any, net: Any, part: Any) -> None:
    mse(model(part(0))).backward()
    mse(model(part(1)) * 3.0).backward()


def one_backward_of_two_passes(model: Any, net: Any, part: Any) -> None:
    (mse(model(part(0))) + 2.0 * mse(model(part(1)))).backward()


def two_losses_of_one_pass(model: Any, net: Any, part: Any) -> None:
    y = model(part(0))
    mse(y).backward(retain_graph=True)
    y.mean().backward()


def gradients_used_between_passes(model: Any, net: Any, part: Any) -> None:
    """The second loss depends on gradients of the first pass, which are reduced already."""
    mse(model(part(0))).backward()
    scale = F.square(net.last.weight.grad).sum().detach()
    (mse(model(part(1))) * scale).backward()


@EAGER_AND_TRACED
@pytest.mark.parametrize(
    "step",
    [
        two_forwards_then_two_backwards, two_backwards_in_turn, one_backward_of_two_passes, two_losses_of_one_pass,
        gradients_used_between_passes,
    ],
    ids=lambda step: step.__name__,
)  # fmt: skip
@pytest.mark.parametrize("sizes", [[[6, 2], [1, 7]], [[3, 0, 2], [2, 2, 0]]])
def test_every_pass_has_the_weight_of_its_own_forward(step: Step, sizes: list[list[int]], traced: bool) -> None:
    check(step, sizes, traced=traced, build=lambda: Net(norm=False), repeats=2)
    check(step, sizes, traced=traced, build=Net)


# Parameters that come and go ------------------------------------------------------------------------------------------


@EAGER_AND_TRACED
def test_parameters_frozen_when_wrapped_and_unfrozen_later(traced: bool) -> None:
    def build() -> Net:
        net = Net()
        net.first.requires_grad_(False)
        return net

    def step(model: Any, net: Any, part: Any) -> None:
        mse(model(part(0))).backward()

    check(step, [[3, 1]], traced=traced, build=build)
    check(step, [[3, 1]], traced=traced, build=build, prepare=lambda net: net.requires_grad_())


@EAGER_AND_TRACED
def test_parameters_frozen_at_the_first_step_and_unfrozen_for_the_second(traced: bool) -> None:
    def step(model: Any, net: Any, part: Any) -> None:
        run = dt.trace(lambda x: mse(model(x)).backward()) if traced else lambda x: mse(model(x)).backward()
        net.first.requires_grad_(False)
        run(part(0))
        net.first.requires_grad_(True)
        net.last.bias.requires_grad_(False)
        run(part(1))

    check(step, [[3, 1, 2], [1, 4, 0]])


@EAGER_AND_TRACED
def test_parameters_that_are_added_or_replaced_start_as_rank_0s(traced: bool) -> None:
    def prepare(net: Any) -> None:
        # Every rank draws other numbers, as `nn.init` would; one process is rank 0.
        rank = dist.rank() if dist.is_initialized() else 0
        net.extra = dt.nn.Parameter(dt.tensor(np.random.default_rng(rank).standard_normal(FEATURES)))
        net.last = dt.nn.Linear(FEATURES, 2).to("f64")
        net.last.weight.assign_(dt.tensor(np.random.default_rng(rank).standard_normal((2, FEATURES))))
        net.last.bias.assign_(dt.tensor(np.full(2, float(rank))))

    check(lambda model, net, part: mse(model(part(0))).backward(), [[3, 1, 2]], traced=traced, prepare=prepare)


def through_pickle(module: Any) -> Any:
    return pickle.loads(pickle.dumps(module))


@EAGER_AND_TRACED
@pytest.mark.parametrize("copied", [copy.deepcopy, through_pickle], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("inner", [False, True])
def test_copies_average_by_themselves(copied: Callable[[Any], Any], inner: bool, traced: bool) -> None:
    whole = batches(5, 0)
    one = Net()
    mse(one(dt.tensor(whole))).backward()

    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            model = dist.data_parallel(dist.convert_sync_batch_norm(Net(seed=communicator.rank)))
            twin = copied(model.module if inner else model)
            part = dt.tensor(whole[:4] if communicator.rank == 0 else whole[4:])

            def step(x: Any) -> None:
                mse(twin(x)).backward()

            (dt.trace(step) if traced else step)(part)
            assert all(p.grad is None for p in model.parameters())
            return gradients(twin if inner else twin.module)

    for found in dist.run_threads(2, program):
        for name, value in gradients(one).items():
            np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


@EAGER_AND_TRACED
def test_equal_models_in_one_function_have_memory_of_their_own(traced: bool) -> None:
    """Buckets with the same names, sizes and reduction."""
    whole = batches(6, 0)
    wanted = []
    for seed in (0, 5):
        net = Net(seed, norm=False)
        (mse(net(dt.tensor(whole))) * (seed + 1.0)).backward()
        wanted.append(gradients(net))

    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            nets = [Net(seed, norm=False) for seed in (0, 5)]
            models = [dist.data_parallel(net, bucket_mb=2**-13) for net in nets]

            def step(x: Any) -> None:
                for net in nets:
                    net.zero_grad()
                first, second = (mse(model(x)) for model in models)
                (first + second * 6.0).backward()

            run = dt.trace(step) if traced else step
            for _ in range(2):
                run(dt.tensor(whole[:4] if communicator.rank == 0 else whole[4:]))
            return [gradients(net) for net in nets]

    for found in dist.run_threads(2, program):
        for mine, other in zip(found, wanted):
            for name, value in other.items():
                np.testing.assert_allclose(mine[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


@EAGER_AND_TRACED
@pytest.mark.parametrize("sizes", [[4, 2], [1, 5], [3, 0, 2]])
def test_a_frozen_model_with_sync_bn_between_the_loss_and_what_is_trained(sizes: list[int], traced: bool) -> None:
    """The generator's step of an adversarial pair: the critic is frozen, and its batch norm couples the ranks."""

    class Pair(dt.nn.Module):
        def __init__(self) -> None:
            self.generator, self.critic = Net(1), Net(2)
            self.critic.requires_grad_(False)
            self.back = dt.tensor(np.ones((2, FEATURES)))

    def step(model: Any, net: Any, part: Any) -> None:
        generator, critic = net.generator, net.critic
        mse(critic(F.matmul(generator(part(0)), net.back))).backward()

    def wrap_both(net: Any) -> None:
        if dist.is_initialized():
            dist.data_parallel(net.generator)
            dist.data_parallel(net.critic)

    check(step, [sizes], traced=traced, build=Pair, prepare=wrap_both)


def test_a_module_put_in_the_place_of_the_wrapped_one_is_averaged() -> None:
    def step(model: Any, net: Any, part: Any) -> None:
        if isinstance(model, dist.DataParallel):
            model.module = net.spare
        else:
            model = net.spare
        mse(model(part(0))).backward()

    def build() -> Any:
        net = Net()
        net.spare = Net(3)
        return net

    check(step, [[4, 2]], build=build)


def test_batch_norm_that_is_converted_after_wrapping_is_averaged() -> None:
    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            model = dist.data_parallel(BatchNorm1d(FEATURES).to("f64"))
            model = dist.convert_sync_batch_norm(model)
            part = batches(6, 0)[:4] if communicator.rank == 0 else batches(6, 0)[4:]
            F.square(model(dt.tensor(part)) - 0.5).mean().backward()
            return model.module.weight.grad.numpy()

    one = BatchNorm1d(FEATURES).to("f64")
    F.square(one(dt.tensor(batches(6, 0))) - 0.5).mean().backward()
    for found in dist.run_threads(2, program):
        np.testing.assert_allclose(found, one.weight.grad.numpy(), rtol=1e-9)


def test_a_saved_model_runs_where_there_are_no_other_ranks() -> None:
    saved: list[bytes] = []

    def program(communicator: Any) -> None:
        with dist.using(communicator):
            model = dist.data_parallel(Net())
            if communicator.rank == 0:
                saved.append(pickle.dumps(model))

    dist.run_threads(2, program)
    model, one = pickle.loads(saved[0]), Net()
    for module in (model, one):
        mse(module(dt.tensor(batches(3, 0)))).backward()
    np.testing.assert_array_equal(model.module.first.weight.grad.numpy(), one.first.weight.grad.numpy())


def test_a_model_inside_of_a_model_is_averaged_once() -> None:
    class Outer(dt.nn.Module):
        def __init__(self) -> None:
            self.inner = Net()

        def forward(self, x: Any) -> Any:
            return self.inner(x)

    def step(model: Any, net: Any, part: Any) -> None:
        inner = net.inner
        if isinstance(model, dist.DataParallel):
            net.inner = dist.data_parallel(inner).module
        mse(model(part(0))).backward()

    check(step, [[4, 2]], build=Outer)


@EAGER_AND_TRACED
def test_outputs_that_are_parameters_and_losses_without_the_model(traced: bool) -> None:
    class Temperature(Net):
        def forward(self, x: Any) -> Any:
            return {"y": super().forward(x), "scale": self.last.bias}

    def step(model: Any, net: Any, part: Any) -> None:
        found = model(part(0))
        (mse(found["y"]) * found["scale"].sum()).backward()

    check(step, [[3, 3]], traced=traced, build=Temperature)


def test_a_gradient_for_inputs_runs_no_collective_and_a_penalty_on_it_is_exact() -> None:
    """The gradient penalty of a critic: second derivatives through a data-parallel model."""

    def step(model: Any, net: Any, part: Any) -> None:
        x = part(0).detach().requires_grad_()
        y = model(x)
        calls = dist.get_communicator().counters.calls if dist.is_initialized() else 0
        (dx,) = dt.grad(y.sum(), x, create_graph=True)
        if dist.is_initialized():
            assert dist.get_communicator().counters.calls == calls
        (mse(y) + F.square(dx).sum(1).mean()).backward()

    check(step, [[4, 2]], build=lambda: Net(norm=False))


def test_a_penalty_on_averaged_gradients_is_exact() -> None:
    def step(model: Any, net: Any, part: Any) -> None:
        loss = mse(model(part(0)))
        found = dt.grad(loss, [net.first.weight, net.last.weight], create_graph=True)
        (loss + sum(F.square(gradient).sum() for gradient in found)).backward()

    check(step, [[4, 2]], build=lambda: Net(norm=False))
