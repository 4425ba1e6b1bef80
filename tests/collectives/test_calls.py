"""Collectives as statements and as expressions, on tensors, against the same computation in one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.thread_ranks import draw, on_ranks

import dtrain as dt
from dtrain import collectives as dist
from dtrain.base.element import quantized
from dtrain.base.errors import CollectiveError, DtypeError, LayoutError, ShapeError, TraceError
from dtrain.base.tensor_type import tensor_type

SIZES = [1, 2, 3, 5]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("op", ["sum", "mean", "max", "min", "prod"])
def test_a_statement_changes_the_tensor_as_in_pytorch(op: str, size: int) -> None:
    def program(rank: int, size: int) -> np.ndarray:
        x = dt.tensor(draw(rank, 2, 3))
        view = x.detach()
        dist.all_reduce(x, op=op)
        np.testing.assert_array_equal(view.numpy(), x.numpy())  # the memory, not only the handle
        return x.numpy()

    wanted = getattr(np, op)(np.stack([draw(rank, 2, 3) for rank in range(size)]), axis=0)
    for result in on_ranks(size, program):
        np.testing.assert_allclose(result, wanted, rtol=1e-12)


def test_an_expression_leaves_the_tensor_alone() -> None:
    def program(rank: int, size: int) -> None:
        x = dt.tensor(draw(rank, 4))
        total = dist.all_reduce(x)
        pair = (dist.all_reduce(x), dist.broadcast(x, src=1))
        listed = [dist.all_reduce(part) for part in (x, x)]
        returned = (lambda: dist.all_reduce(x))()
        if not bool((dist.all_reduce(x) == total).all()):
            raise AssertionError
        np.testing.assert_array_equal(x.numpy(), draw(rank, 4))
        for result in (pair[0], *listed, returned):
            np.testing.assert_array_equal(result.numpy(), total.numpy())

    on_ranks(2, program)


def test_statements_of_every_form() -> None:
    """What stands behind the call in the bytecode differs with loops, conditions, `with` and `try`."""

    def total(t: dt.Tensor) -> dt.Tensor:
        return dist.all_reduce(t)

    def program(rank: int, size: int) -> None:
        x = dt.tensor([1.0])
        for _ in range(2):
            total(x)
        try:
            dist.all_reduce(x, dist.ReduceOp.SUM)
        finally:
            dist.all_reduce(*(x,), op="sum")
        with dt.no_grad():
            dist.all_reduce(x) if size else None
        assert x.item() == 3.0**5

    on_ranks(3, program)


def test_a_list_of_results_that_nobody_takes_is_a_statement() -> None:
    def program(rank: int, size: int) -> None:
        parts, kept = [dt.tensor(draw(rank, 4)) for _ in range(3)], dt.tensor(draw(rank, 4))
        [dist.all_reduce(part) for part in parts]
        [[dist.all_reduce(part) for part in pair] for pair in [parts[:2]]]
        taken = [dist.all_reduce(kept) for _ in range(2)]
        wanted = sum(draw(other, 4) for other in range(size))
        np.testing.assert_allclose(parts[2].numpy(), wanted)
        np.testing.assert_allclose(parts[0].numpy(), wanted * size)
        np.testing.assert_array_equal(kept.numpy(), draw(rank, 4))
        np.testing.assert_allclose(taken[1].numpy(), wanted)

    on_ranks(2, program)


def test_gradients_are_averaged_as_in_a_tutorial() -> None:
    def program(rank: int, size: int) -> list[np.ndarray]:
        w = dt.Parameter(dt.tensor([1.0, 2.0], dtype="f64"))
        v = dt.Parameter(dt.tensor([0.0, 0.0], dtype="f64"))
        ((w + v) * dt.tensor(draw(rank, 2))).sum().backward()  # both get one gradient from the rule of +
        for parameter in (w, v):
            dist.all_reduce(parameter.grad, op=dist.ReduceOp.SUM)
            parameter.grad = parameter.grad / size
        return [w.grad.numpy(), v.grad.numpy()]

    wanted = np.mean([draw(rank, 2) for rank in range(3)], axis=0)
    for gradients in on_ranks(3, program):
        for gradient in gradients:
            np.testing.assert_allclose(gradient, wanted, rtol=1e-12)


def test_a_traced_statement_changes_the_tensor_too() -> None:
    def program(rank: int, size: int) -> tuple[float, float, np.ndarray]:
        seen = dt.tensor([0.0])

        @dt.trace
        def step(x: dt.Tensor) -> dt.Tensor:
            loss = (x * x).sum()
            dist.all_reduce(loss)
            seen.assign_(loss.reshape(1))
            dist.all_reduce(seen)
            return loss

        values = [step(dt.tensor([float(rank + 1), 2.0])).item() for _ in range(2)]
        return values[0], values[1], seen.numpy()

    for first, second, seen in on_ranks(3, program):
        assert first == second == 1 + 4 + 9 + 3 * 4
        assert seen == [3 * first]


def test_what_no_op_takes_is_not_reduced_behind_its_back() -> None:
    """A call that works on the array alone would add stored integers, whatever they stand for."""

    def program(rank: int, size: int) -> None:
        laid_out = dt.ones((1, 3, 1, 1)).relayout("NCHW4c")
        counts = dt.Tensor(np.ones(3, np.int8), tensor_type((3,), quantized("s8", 0.5)))
        for x, error in ((laid_out, LayoutError), (counts, DtypeError)):
            for is_async in (False, True):
                with pytest.raises(error, match="all_reduce: expected "):
                    dist.all_reduce(x, async_op=is_async)
                with pytest.raises(error, match="broadcast: expected "):
                    dist.broadcast(x, src=0, async_op=is_async)

    on_ranks(2, program)


@pytest.mark.parametrize("size", [1, 3])
def test_broadcast_reduce_and_async(size: int) -> None:
    def program(rank: int, size: int) -> tuple[np.ndarray, ...]:
        last = size - 1
        sent, total, later = dt.tensor(draw(rank, 3)), dt.tensor(draw(rank, 3)), dt.tensor(draw(rank, 3))
        dist.broadcast(sent, src=last)
        dist.reduce(total, dst=last)
        work = dist.all_reduce(later, async_op=True)
        work.wait()
        again = dt.tensor(draw(rank, 3))
        dist.broadcast(again, last, async_op=True).wait()
        np.testing.assert_array_equal(again.numpy(), sent.numpy())
        return sent.numpy(), total.numpy(), later.numpy()

    total = sum(draw(rank, 3) for rank in range(size))
    for rank, (sent, reduced, later) in enumerate(on_ranks(size, program)):
        np.testing.assert_array_equal(sent, draw(size - 1, 3))
        np.testing.assert_allclose(reduced, total if rank == size - 1 else draw(rank, 3), rtol=1e-12)
        np.testing.assert_allclose(later, total, rtol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_lists_are_filled(size: int) -> None:
    def program(rank: int, size: int) -> None:
        x = dt.tensor(draw(rank, 2))
        places = [dt.zeros(2, dtype="f64") for _ in range(size)]
        dist.all_gather(places, x)
        for other, place in enumerate(places):
            np.testing.assert_array_equal(place.numpy(), draw(other, 2))
        rows = dist.gather(x, dst=size - 1)
        assert (rows is None) == (rank != size - 1) and (rows is None or rows.shape == (size, 2))
        into = dt.zeros((size, 2), dtype="f64")
        dist.all_gather_into(into, x)
        np.testing.assert_array_equal(into.numpy(), dist.all_gather(x).numpy())
        parts = [dt.tensor(draw(10 * rank + other, 2)) for other in range(size)]
        mine = dt.zeros(2, dtype="f64")
        dist.reduce_scatter(mine, parts)
        wanted = sum(draw(10 * other + rank, 2) for other in range(size))
        np.testing.assert_allclose(mine.numpy(), wanted, rtol=1e-12)
        dist.scatter(mine, parts if rank == 0 else None, src=0)
        np.testing.assert_array_equal(mine.numpy(), draw(rank, 2))
        dist.all_to_all(places, parts)
        for other, place in enumerate(places):
            np.testing.assert_array_equal(place.numpy(), draw(10 * other + rank, 2))

    on_ranks(size, program)


def test_from_rank_to_rank() -> None:
    def program(rank: int, size: int) -> float:
        x = dt.tensor([float(rank)])
        work = dist.isend(x, (rank + 1) % size)
        received = dt.tensor([-1.0])
        assert dist.recv(received, src=(rank - 1) % size) == (rank - 1) % size
        work.wait()
        return received.item()

    assert on_ranks(3, program) == [2.0, 0.0, 1.0]


def test_groups_and_ranks_of_the_world() -> None:
    """`src` and `dst` count in the world, as PyTorch's do; `root` counts in the group."""

    def program(rank: int, size: int) -> tuple[float, float] | None:
        group = dist.new_group([1, 2, 4])
        assert (dist.get_rank(group), dist.get_world_size(group)) == (
            ([1, 2, 4].index(rank), 3) if rank in (1, 2, 4) else (-1, -1)
        )
        assert (dist.get_rank(), dist.get_world_size()) == (rank, 5)
        if rank not in (1, 2, 4):
            with pytest.raises(CollectiveError, match="a group of rank"):
                dist.all_reduce(dt.tensor([1.0]), group=group)
            return None
        x, y = dt.tensor([float(rank)]), dt.tensor([float(rank)])
        dist.broadcast(x, 2, group=group)
        dist.broadcast(y, root=2, group=group)
        dist.barrier(group)
        with pytest.raises(CollectiveError, match="one of the world's ranks"):
            dist.broadcast(x, 3, group=group)
        return x.item(), y.item()

    assert on_ranks(5, program) == [None, (2.0, 4.0), (2.0, 4.0), None, (2.0, 4.0)]


def test_objects() -> None:
    def program(rank: int, size: int) -> None:
        places: list[Any] = [None] * size
        dist.all_gather_object(places, {"rank": rank})
        assert places == [{"rank": other} for other in range(size)] == dist.all_gather_object({"rank": rank})
        values = ["a", 1] if rank == 2 else [None, None]
        dist.broadcast_object_list(values, src=2)
        assert values == ["a", 1]
        assert dist.broadcast_object(rank, src=1) == 1
        assert dist.gather_object(rank, dst=0) == (list(range(size)) if rank == 0 else None)

    on_ranks(3, program)


def test_what_cannot_be_put_anywhere_is_said() -> None:
    def program(rank: int, size: int) -> None:
        with pytest.raises(TypeError, match="a tensor to put the result into"):
            dist.all_reduce([1.0, 2.0])
        with pytest.raises(ShapeError, match="a list of 2 tensors"):
            dist.all_gather([dt.zeros(2)], dt.zeros(2))
        with pytest.raises(TypeError, match="the other rank"):
            dist.send(dt.zeros(2))
        with pytest.raises(TraceError, match="leave async_op out"):
            dt.trace(lambda x: dist.all_reduce(x, async_op=True))(dt.zeros(2))

    on_ranks(2, program)


def test_init_process_group_agrees_with_the_launcher() -> None:
    def program(rank: int, size: int) -> None:
        assert dist.init_process_group("nccl", rank=rank, world_size=size).size == size
        assert dist.init_process_group(backend="gloo", init_method="env://").rank == rank
        with pytest.raises(CollectiveError, match="as the launcher says"):
            dist.init_process_group("gloo", rank=size - rank, world_size=size + 1)

    on_ranks(2, program)


def keyword_calls(rank: int, size: int) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Each collective in torch.distributed's keywords, and by position: what is filled, or what is returned."""
    x = draw(rank, size, 2)

    def fill(call: Any, *shape: int, **words: Any) -> Any:
        place = dt.tensor(np.zeros(shape))
        call(place, **words)
        return place.tolist()

    def listed(call: Any, shape: tuple[int, ...] = (size, 2)) -> Any:
        places = [dt.tensor(np.zeros(shape)) for _ in range(size)]
        call(places)
        return [place.tolist() for place in places]

    def changed(call: Any) -> Any:
        tensor = dt.tensor(x)
        call(tensor)
        return tensor.tolist()

    def objects(call: Any, length: int = size) -> Any:
        places: list[Any] = [rank] * length
        call(places)
        return places

    rows = [dt.tensor(row) for row in x]
    last, t = size - 1, dt.tensor(x)
    from_last = rows if rank == last else None
    return {
        "all_reduce": (
            lambda: changed(lambda a: [dist.all_reduce(tensor=a, op="max", group=None, async_op=True).wait()]),
            lambda: changed(lambda a: [dist.all_reduce(a, "max", None, True).wait()]),
        ),
        "broadcast": (
            lambda: dist.broadcast(tensor=t, group_src=last).tolist(),
            lambda: dist.broadcast(t, last, None).tolist(),
        ),
        "reduce": (
            lambda: dist.reduce(tensor=t, dst=last, async_op=False).tolist(),
            lambda: dist.reduce(t, last, "sum", None).tolist(),
        ),
        "all_gather": (
            lambda: listed(lambda places: dist.all_gather(tensor_list=places, tensor=t)),
            lambda: listed(lambda places: dist.all_gather(places, t, None)),
        ),
        "all_gather_into_tensor": (
            lambda: fill(lambda p: dist.all_gather_into_tensor(output_tensor=p, input_tensor=t), size * size, 2),
            lambda: fill(lambda p: dist.all_gather_into(p, t), size * size, 2),
        ),
        "gather": (
            lambda: listed(lambda places: dist.gather(tensor=t, gather_list=places, group_dst=last)),
            lambda: listed(lambda places: dist.gather(t, places, last)),
        ),
        "scatter": (
            lambda: fill(lambda p: dist.scatter(tensor=p, scatter_list=from_last, group_src=last), 2),
            lambda: fill(lambda p: dist.scatter(p, from_last, last), 2),
        ),
        "reduce_scatter": (
            lambda: fill(lambda p: dist.reduce_scatter(output=p, input_list=rows), 2),
            lambda: fill(lambda p: dist.reduce_scatter(p, rows), 2),
        ),
        "reduce_scatter_tensor": (
            lambda: fill(lambda p: dist.reduce_scatter_tensor(output=p, input=t, op="mean"), 1, 2),
            lambda: fill(lambda p: dist.reduce_scatter_into(p, t, "mean"), 1, 2),
        ),
        "all_to_all": (
            lambda: listed(lambda p: dist.all_to_all(output_tensor_list=p, input_tensor_list=rows), (2,)),
            lambda: listed(lambda p: dist.all_to_all(p, rows), (2,)),
        ),
        "all_to_all_single": (
            lambda: fill(lambda p: dist.all_to_all_single(output=p, input=t, input_split_sizes=None), size, 2),
            lambda: fill(lambda p: dist.all_to_all_into(p, t), size, 2),
        ),
        "broadcast_object_list": (
            lambda: objects(lambda o: dist.broadcast_object_list(object_list=o, src=last, device=None)),
            lambda: objects(lambda o: dist.broadcast_object_list(o, last)),
        ),
        "all_gather_object": (
            lambda: objects(lambda o: dist.all_gather_object(object_list=o, obj=[rank])),
            lambda: objects(lambda o: dist.all_gather_object(o, [rank], None)),
        ),
        "gather_object": (
            lambda: objects(lambda o: dist.gather_object(obj=[rank], object_gather_list=o, dst=last)),
            lambda: objects(lambda o: dist.gather_object([rank], o, last)),
        ),
    }


@pytest.mark.parametrize("size", [1, 2, 3])
def test_keywords_of_torch_distributed_are_those_positions(size: int) -> None:
    def program(rank: int, size: int) -> None:
        for name, (theirs, ours) in keyword_calls(rank, size).items():
            assert theirs() == ours(), name
        dist.isend(tensor=dt.tensor([float(rank)]), dst=(rank + 1) % size, tag=3).wait()
        place = dt.tensor([-1.0])
        assert dist.recv(tensor=place, group_src=(rank - 1) % size, tag=3) == (rank - 1) % size
        dist.send(dt.tensor([float(rank)]), (rank + 1) % size, None, 4)
        dist.irecv(tensor=place, src=(rank - 1) % size, tag=4).wait()
        assert place.tolist() == [float((rank - 1) % size)]

    on_ranks(size, program)


def test_a_statement_in_keywords_changes_its_tensor() -> None:
    def program(rank: int, size: int) -> list[float]:
        x = dt.tensor([float(rank)])
        dist.all_reduce(tensor=x, op=dist.ReduceOp.MAX)
        return x.tolist()

    assert on_ranks(3, program) == [[2.0]] * 3


@pytest.mark.parametrize("size", [1, 2, 3])
def test_objects_are_scattered(size: int) -> None:
    def program(rank: int, size: int) -> Any:
        place: list[Any] = [None, "kept"]
        values = [{"for": other} for other in range(size)] if rank == size - 1 else None
        dist.scatter_object_list(scatter_object_output_list=place, scatter_object_input_list=values, src=size - 1)
        with pytest.raises(CollectiveError, match=f"{size} objects on the root"):
            dist.scatter_object_list(place, [1] * (size + 1))
        return place

    assert on_ranks(size, program) == [[{"for": rank}, "kept"] for rank in range(size)]


def test_words_that_no_collective_has_are_said() -> None:
    def program(rank: int, size: int) -> None:
        x = dt.tensor([1.0])
        with pytest.raises(TypeError, match=r"dist.all_reduce\(\).*did you mean tensor"):
            dist.all_reduce(tensr=x)
        with pytest.raises(ValueError, match="leave async_op"):
            dist.reduce(x, dst=0, async_op=True)
        with pytest.raises(TypeError, match="one of x and tensor"):
            dist.all_reduce(x, tensor=x)
        with pytest.raises(AttributeError, match="SUM, AVG, MAX, MIN or PRODUCT"):
            _ = dist.ReduceOp.BAND

    on_ranks(1, program)
