"""Streams: batches over ranks and workers, epochs, places to resume at, and what they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import pytest

from dtrain import data


class Lines(data.IterableDataset[Any]):
    """0 … n − 1; in a worker every n-th of them, as scripts of PyTorch do."""

    def __init__(self, count: int, *, divides: bool = True) -> None:
        self.count, self.divides = count, divides

    def __iter__(self) -> Iterator[Any]:
        info = data.get_worker_info() if self.divides else None
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(first, self.count, step))


class Sized(Lines):
    def __len__(self) -> int:
        return self.count


class Endless(data.IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        number = 0
        while True:
            yield {"x": np.full(2, number, np.float32)}
            number += 1


def values(loader: data.DataLoader) -> list[list[int]]:
    return [batch.tolist() for batch in loader]


def test_batches_in_the_order_of_the_stream() -> None:
    loader = data.DataLoader(Lines(7), 3)
    assert values(loader) == values(loader) == [[0, 1, 2], [3, 4, 5], [6]] and loader.epoch == 2
    assert values(data.DataLoader(Lines(7), 3, drop_last=True)) == [[0, 1, 2], [3, 4, 5]]
    assert values(data.DataLoader(Lines(0), 3)) == []
    assert "Lines()" in repr(loader)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [0, 1, 7, 12])
@pytest.mark.parametrize("drop_last", [False, True])
def test_ranks_take_turns_in_samples(count: int, size: int, drop_last: bool) -> None:
    parts = [values(data.DataLoader(Lines(count), 2, shard=(rank, size), drop_last=drop_last)) for rank in range(size)]
    assert len({len(part) for part in parts}) == 1
    seen = sorted(chain(*chain(*parts)))
    assert seen == list(range(count // (2 * size) * 2 * size if drop_last else count))
    for step in range(len(parts[0])):
        together = sorted(chain(*(part[step] for part in parts)))
        assert together == list(range(2 * size * step, min(2 * size * (step + 1), count)))


@pytest.mark.parametrize(("workers", "size"), [(1, 1), (2, 1), (3, 2)])
def test_workers_read_parts_of_their_own(workers: int, size: int) -> None:
    loaders = [data.DataLoader(Lines(13), 2, shard=(rank, size), num_workers=workers) for rank in range(size)]
    parts = [values(loader) for loader in loaders]
    assert len({len(part) for part in parts}) == 1 and sorted(chain(*chain(*parts))) == list(range(13))
    if (workers, size) == (2, 1):  # one batch of each worker in turn
        assert parts[0][:3] == [[0, 2], [1, 3], [4, 6]]
        assert values(loaders[0]) == parts[0]


def test_workers_that_do_not_divide_a_stream_repeat_it_as_in_pytorch() -> None:
    found = values(data.DataLoader(Lines(3, divides=False), 2, num_workers=2))
    assert found == [[0, 1], [0, 1], [2], [2]]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_endless_stream_is_left(workers: int) -> None:
    loader = data.DataLoader(Endless(), 2, num_workers=workers)
    batches = [batch["x"].shape for batch, _ in zip(loader, range(3))]
    assert batches == [(2, 2)] * 3 and loader.epoch == 0


def test_an_error_in_a_worker_is_raised_as_it_is() -> None:
    class Broken(Lines):
        def __iter__(self) -> Iterator[Any]:
            yield 1
            raise KeyError("torn file")

    with pytest.raises(KeyError, match="torn file"):
        values(data.DataLoader(Broken(1), 1, num_workers=1))


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_place_to_resume_at(after: int) -> None:
    before = [data.DataLoader(Lines(17), 2, shard=(rank, 2)) for rank in range(2)]
    walks = [iter(loader) for loader in before]
    handed = [next(walk).tolist() for walk in walks for _ in range(2)]
    state = before[0].state_dict()
    assert state == before[1].state_dict() and state["num_samples"] == 8
    resumed = [data.DataLoader(Lines(17), 3, shard=(rank, after)) for rank in range(after)]
    for loader in resumed:
        loader.load_state_dict(state)
    rest = [values(loader) for loader in resumed]
    assert sorted(chain(*handed)) == list(range(8)) and sorted(chain(*chain(*rest))) == list(range(8, 17))
    assert sorted(chain(*chain(*(values(loader) for loader in resumed)))) == list(range(17))


def test_a_place_that_workers_share_is_none() -> None:
    loader = data.DataLoader(Lines(9), 2, num_workers=2)
    walk = iter(loader)
    next(walk)
    for other in (loader, data.DataLoader(Lines(9), 2)):
        with pytest.raises(ValueError, match=r"a state of stream|that one process reads"):
            other.load_state_dict(loader.state_dict())
    list(walk)
    other = data.DataLoader(Lines(9), 2, num_workers=2)
    other.load_state_dict(loader.state_dict())
    assert other.epoch == 1


def test_lengths() -> None:
    assert len(data.DataLoader(Sized(7), 2)) == 4 and len(data.DataLoader(Sized(7), 2, shard=(0, 3))) == 2
    with pytest.raises(TypeError, match="define __len__"):
        len(data.DataLoader(Lines(7), 2))


def test_one_after_another() -> None:
    both = Sized(2) + Sized(3)
    assert isinstance(both, data.ChainDataset) and list(both) == [0, 1, 0, 1, 2] and len(both) == 5
    assert values(data.DataLoader(data.ChainDataset([Lines(2), Lines(1)]), 2)) == [[0, 1], [0]]
    joined = data.ArrayDataset(np.arange(2)) + data.ArrayDataset(np.arange(3))
    assert isinstance(joined, data.ConcatDataset) and [int(sample) for sample in joined] == [0, 1, 0, 1, 2]
    with pytest.raises(TypeError, match=r"join others with data\.ConcatDataset"):
        data.ChainDataset([[1]])


@pytest.mark.parametrize(
    "options", [{"shuffle": True}, {"sampler": [1]}, {"batch_sampler": [[1]]}], ids=["shuffle", "sampler", "batches"]
)
def test_a_stream_has_no_numbers(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="left out beside an IterableDataset"):
        data.DataLoader(Lines(3), **options)
    with pytest.raises(TypeError, match="sample number 0"):
        Lines(3)[0]
    with pytest.raises(NotImplementedError, match="has no __iter__"):
        iter(data.IterableDataset())
