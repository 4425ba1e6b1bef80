"""Gradients averaged over samples: uneven and empty local batches, unused parameters, accumulation, other models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import collectives as dist
from dtrain.base.errors import ShapeError
from dtrain.core.tensor import Parameter

FEATURES, CLASSES = 5, 3


class Net(dt.nn.Module):
    """Two layers, and one that only some inputs use."""

    def __init__(self, seed: int = 0, classes: int = CLASSES) -> None:
        rng = np.random.default_rng(seed)
        self.first = Parameter(rng.standard_normal((FEATURES, 4)))
        self.second = Parameter(rng.standard_normal((4, classes)))
        self.rarely = Parameter(rng.standard_normal((classes,)))
        self.never = Parameter(rng.standard_normal((2,)))

    def forward(self, x: dt.Tensor, use_rarely: bool = False) -> dt.Tensor:
        y = F.matmul(F.tanh(F.matmul(x, self.first)), self.second)
        return y + self.rarely if use_rarely else y


def batch(count: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, FEATURES))


def loss_of(model: Any, x: np.ndarray, **options: Any) -> dt.Tensor:
    return F.square(model(dt.tensor(x), **options)).mean()


def gradients(net: Net) -> dict[str, np.ndarray | None]:
    return {name: None if p.grad is None else p.grad.numpy().copy() for name, p in net.named_parameters()}


def whole_batch(count: int, **options: Any) -> dict[str, np.ndarray | None]:
    net = Net()
    loss_of(net, batch(count), **options).backward()
    return gradients(net)


def on_ranks(size: int, body: Callable[[Net, Any, int], Any]) -> list[Any]:
    """`body(net, model, rank)` on thread ranks, each with a data-parallel model made from another seed."""

    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            net = Net(seed=communicator.rank)
            return body(net, dist.data_parallel(net), communicator.rank)

    return dist.run_threads(size, program)


def edges(sizes: list[int]) -> list[tuple[int, int]]:
    ends = np.cumsum([0, *sizes])
    return list(zip(ends[:-1].tolist(), ends[1:].tolist()))


def assert_equal(found: dict[str, np.ndarray | None], wanted: dict[str, np.ndarray | None]) -> None:
    for name, value in wanted.items():
        mine = found[name]
        if value is None:
            assert mine is None, name
        else:
            assert mine is not None, name
            np.testing.assert_allclose(mine, value, rtol=1e-12, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("sizes", [[4, 4], [7, 2], [5, 0, 3], [1, 2, 3, 4], [2, 3, 0, 0, 4]])
def test_gradients_are_those_of_the_whole_batch(sizes: list[int], traced: bool) -> None:
    x = batch(sum(sizes))

    def body(net: Net, model: Any, rank: int) -> dict[str, np.ndarray | None]:
        begin, end = edges(sizes)[rank]

        def step(part: dt.Tensor) -> dt.Tensor:
            loss = F.square(model(part)).mean()
            loss.backward()
            return loss

        with np.errstate(all="ignore"):  # the mean over no samples is NaN, and must stay where it is
            (dt.trace(step) if traced else step)(dt.tensor(x[begin:end]))
        return gradients(net)

    results = on_ranks(len(sizes), body)
    wanted = whole_batch(sum(sizes))
    assert wanted["rarely"] is None and wanted["first"] is not None
    for found in results:
        assert_equal(found, wanted)
        for name, value in results[0].items():
            assert value is None or value.tobytes() == found[name].tobytes(), f"{name} differs between ranks"


def test_a_parameter_that_one_rank_uses_gets_its_gradient_everywhere() -> None:
    x = batch(6)

    def body(net: Net, model: Any, rank: int) -> Any:
        loss_of(model, x[2 * rank : 2 * rank + 2], use_rarely=rank == 1).backward()
        return gradients(net), model.unused_parameters

    net = Net()
    parts = [loss_of(net, x[2 * r : 2 * r + 2], use_rarely=r == 1) for r in range(3)]
    ((parts[0] + parts[1] + parts[2]) / 3).backward()
    for found, unused in on_ranks(3, body):
        assert_equal(found, gradients(net))
        assert unused == ["never"]


def test_a_graph_from_before_no_sync_takes_part_in_it_afterwards() -> None:
    x = batch(8)

    def body(net: Net, model: Any, rank: int) -> Any:
        begin, end = edges([3, 1])[rank]

        @dt.trace
        def step(part: dt.Tensor) -> dt.Tensor:
            loss = F.square(model(part)).mean()
            loss.backward()
            return loss

        step(dt.tensor(x[:4][begin:end]))
        net.zero_grad()
        with model.no_sync():
            loss_of(model, x[:4][begin:end]).backward()
        step(dt.tensor(x[4:][begin:end]))
        return gradients(net)

    net = Net()
    (loss_of(net, x[:4]) + loss_of(net, x[4:])).backward()
    for found in on_ranks(2, body):
        assert_equal(found, gradients(net))


@pytest.mark.parametrize("kind", ["eager", "two traced functions", "one traced function"])
def test_no_sync_keeps_gradients_until_the_synchronized_pass(kind: str) -> None:
    x = batch(8)

    def body(net: Net, model: Any, rank: int) -> Any:
        begin, end = edges([3, 1])[rank]

        def step(part: dt.Tensor) -> dt.Tensor:
            loss = F.square(model(part)).mean()
            loss.backward()
            return loss

        waiting = step if kind == "eager" else dt.trace(lambda part: step(part))
        final = dt.trace(lambda part: step(part)) if kind == "two traced functions" else waiting
        before = dist.get_communicator().counters.as_dict()
        before.setdefault("all_reduce", {"nbytes": 0})
        expected = dict.fromkeys(before, 0) | {"all_reduce": 8}  # the sum of the weights, and no gradient
        with model.no_sync():
            waiting(dt.tensor(x[:4][begin:end]))
        shown = net.first.grad.numpy().copy()
        told = dist.get_communicator().counters.as_dict()
        assert {kind: told[kind]["nbytes"] - before[kind]["nbytes"] for kind in told} == expected
        final(dt.tensor(x[4:][begin:end]))
        return shown, gradients(net)

    parts, results = zip(*on_ranks(2, body))
    net = Net()
    loss_of(net, x[:4]).backward()
    np.testing.assert_allclose(np.mean(parts, axis=0), net.first.grad.numpy(), rtol=1e-9, atol=1e-12)
    assert not np.allclose(*parts)
    net.zero_grad()
    (loss_of(net, x[:4]) + loss_of(net, x[4:])).backward()
    for found in results:
        assert_equal(found, gradients(net))


def test_gradients_accumulate_over_synchronized_passes() -> None:
    x = batch(6)

    def body(net: Net, model: Any, rank: int) -> Any:
        begin, end = edges([1, 2])[rank]
        loss_of(model, x[:3][begin:end]).backward()
        loss_of(model, x[3:][begin:end]).backward()
        return gradients(net)

    net = Net()
    (loss_of(net, x[:3]) + loss_of(net, x[3:])).backward()
    for found in on_ranks(2, body):
        assert_equal(found, gradients(net))


def test_two_models_and_a_bystander_in_one_thread() -> None:
    """An adversarial pair: each pass is weighed once, and what belongs to no model keeps its own gradient."""
    x = batch(7)

    def losses(net: Any, critic: Any, part: dt.Tensor, bystander: dt.Tensor) -> dt.Tensor:
        return F.square(critic(F.matmul(net(part), dt.tensor(np.ones((CLASSES, FEATURES)))) + bystander)).mean()

    def body(net: Net, model: Any, rank: int) -> Any:
        begin, end = edges([5, 2])[rank]
        critic = dist.data_parallel(Net(seed=8))
        bystander = dt.tensor(np.ones(FEATURES), requires_grad=True)
        losses(model, critic, dt.tensor(x[begin:end]), bystander).backward()
        alone = dt.tensor(np.ones(FEATURES), requires_grad=True)
        (alone * 3.0).sum().backward()  # no model takes part
        np.testing.assert_allclose(alone.grad.numpy(), 3.0, rtol=1e-12)
        return gradients(net), gradients(critic.module), bystander.grad.numpy()

    net, critic = Net(), Net(seed=8)
    losses(net, critic, dt.tensor(x), dt.tensor(np.zeros(FEATURES) + 1)).backward()
    for rank, (of_net, of_critic, of_bystander) in enumerate(on_ranks(2, body)):
        assert_equal(of_net, gradients(net))
        assert_equal(of_critic, gradients(critic))
        begin, end = edges([5, 2])[rank]
        own = dt.tensor(np.ones(FEATURES), requires_grad=True)
        losses(Net(), Net(seed=8), dt.tensor(x[begin:end]), own).backward()
        np.testing.assert_allclose(of_bystander, own.grad.numpy(), rtol=1e-12)


def test_another_models_pass_leaves_waiting_gradients_alone() -> None:
    x = batch(8)

    def body(net: Net, model: Any, rank: int) -> Any:
        begin, end = edges([3, 1])[rank]
        other = dist.data_parallel(Net(seed=8))
        with model.no_sync():
            loss_of(model, x[:4][begin:end]).backward()
        waiting = net.first.grad.numpy().copy()
        loss_of(other, x[:4][begin:end]).backward()
        np.testing.assert_array_equal(net.first.grad.numpy(), waiting)
        loss_of(model, x[4:][begin:end]).backward()
        return gradients(net)

    net = Net()
    (loss_of(net, x[:4]) + loss_of(net, x[4:])).backward()
    for found in on_ranks(2, body):
        assert_equal(found, gradients(net))


@pytest.mark.parametrize("traced", [False, True])
def test_the_model_inside_averages_too(traced: bool) -> None:
    x = batch(7)

    def body(net: Net, model: Any, rank: int) -> dict[str, np.ndarray | None]:
        begin, end = edges([5, 2])[rank]
        del model

        def step(part: dt.Tensor) -> dt.Tensor:
            loss = F.square(net(part)).mean()
            loss.backward()
            return loss

        (dt.trace(step) if traced else step)(dt.tensor(x[begin:end]))
        return gradients(net)

    for found in on_ranks(2, body):
        assert_equal(found, whole_batch(7))


def test_every_rank_starts_with_the_parameters_of_rank_0() -> None:
    results = on_ranks(3, lambda net, model, rank: net.first.numpy().copy())
    for found in results:
        np.testing.assert_array_equal(found, Net(seed=0).first.numpy())


def test_other_models_are_named_on_every_rank() -> None:
    def program(communicator: Any) -> str:
        with dist.using(communicator):
            with pytest.raises(ShapeError) as caught:
                dist.data_parallel(Net(classes=CLASSES + (communicator.rank == 1)))
            return str(caught.value)

    for text in dist.run_threads(2, program):
        assert "second: f64[4,3]@cpu on rank 0 and second: f64[4,4]@cpu on rank 1" in text
        assert "build the same model" in text


def test_an_input_without_a_batch_axis_is_refused() -> None:
    def body(net: Net, model: Any, rank: int) -> str:
        with pytest.raises(ShapeError, match="a tensor with a batch axis"):
            model(dt.tensor(1.0))
        return "ok"

    assert on_ranks(2, body) == ["ok", "ok"]


@pytest.mark.parametrize(("given", "message"), [(-1.0, "at least 0 MiB"), (None, "DTRAIN_FUSION_THRESHOLD_MB=x")])
def test_a_wrong_cap_is_refused(given: float | None, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DTRAIN_FUSION_THRESHOLD_MB", "x")

    def program(communicator: Any) -> str:
        with dist.using(communicator), pytest.raises(ValueError, match=message):
            dist.data_parallel(Net(), bucket_mb=given)
        return "ok"

    assert dist.run_threads(2, program) == ["ok", "ok"]


class Masked(dt.nn.Module):
    """A model of several inputs, of which the batch is the first parameter."""

    def __init__(self) -> None:
        self.layer = dt.nn.Linear(1, 1, bias=False)

    def forward(self, x: dt.Tensor, mask: Any = None, *, scale: Any = None, **more: Any) -> dt.Tensor:
        return self.layer(x)

    def encode(self, x: dt.Tensor, mask: Any = None) -> dt.Tensor:
        return self.layer(x)


@pytest.mark.parametrize("size", [2, 3])
def test_the_order_of_keywords_does_not_say_which_input_is_the_batch(size: int) -> None:
    def program(communicator: Any) -> list[float]:
        found = []
        with dist.using(communicator):
            rank = communicator.rank
            x, mask = dt.tensor(np.full((1 + 2 * rank, 1), 1.0 + rank, np.float32)), dt.ones(5, 5)
            for call, given in (
                ("__call__", {"x": x, "mask": mask}),
                ("__call__", {"mask": mask, "x": x}),
                ("__call__", {"scale": mask, "x": x}),
                ("__call__", {"other": mask, "mask": mask, "x": x}),
                ("encode", {"mask": mask, "x": x}),
            ):
                for wrap in (dist.data_parallel, lambda net: dist.data_parallel(dist.data_parallel(net))):
                    net = Masked()
                    getattr(wrap(net), call)(**given).mean().backward()
                    found.append(net.layer.weight.grad.item())
        return found

    counts = [1 + 2 * rank for rank in range(size)]
    right = sum(count * (1.0 + rank) for rank, count in enumerate(counts)) / sum(counts)
    for found in dist.run_threads(size, program):
        np.testing.assert_allclose(found, right, rtol=1e-6)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("last", [dt.functional.tanh, F.exp, F.relu, lambda y: y * 1.0])
def test_outputs_may_be_overwritten(last: Any, traced: bool) -> None:
    class Activated(dt.nn.Module):
        def __init__(self) -> None:
            self.linear = dt.nn.Linear(3, 2)

        def forward(self, x: dt.Tensor) -> dt.Tensor:
            return last(self.linear(x))  # type: ignore[no-any-return]

    def trained(model: Any, x: np.ndarray) -> list[np.ndarray]:
        def step(x: dt.Tensor) -> None:
            y = model(x)
            y.mul_(3.0)
            y[:, 0] = x[:, 0] * 2.0
            y.relu_()
            (y * y).mean().backward()

        (dt.trace(step) if traced else step)(dt.tensor(x))
        return [parameter.grad.numpy() for parameter in model.parameters()]

    def made() -> Any:
        dt.seed(5, rank=0)
        return Activated().to(dt.float64)

    x = np.random.default_rng(3).normal(size=(5, 3))

    def on_rank(world: Any) -> list[np.ndarray]:
        with dist.using(world):
            return trained(dist.data_parallel(made()), x[:4] if world.rank == 0 else x[4:])

    wanted = trained(made(), x)
    for found in dist.run_threads(2, on_rank):
        for one, other in zip(found, wanted):
            np.testing.assert_allclose(one, other, rtol=1e-12)


def test_a_parameter_that_is_an_output_is_still_a_leaf() -> None:
    class Bare(dt.nn.Module):
        def __init__(self) -> None:
            self.weight = Parameter([1.0])

        def forward(self, x: dt.Tensor) -> dt.Tensor:
            return self.weight

    def on_rank(world: Any) -> float:
        with dist.using(world):
            model = dist.data_parallel(Bare())
            with pytest.raises(RuntimeError, match="a leaf that requires gradients"):
                model(dt.ones(2, 1)).mul_(2.0)
            return model.module.weight.item()

    assert dist.run_threads(2, on_rank) == [1.0, 1.0]
