"""Loaders with a sampler or a batch sampler: over ranks, over epochs, resumed, with workers; and worker info."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest

import dtrain as dt
from dtrain import data
from dtrain.data.worker_info import WorkerInfo

pytestmark = pytest.mark.filterwarnings("ignore:the last batch of this rank is empty")
DATASET = data.ArrayDataset(np.arange(11))


class Reversed(data.Sampler):
    """A user's sampler: no epochs, no seed."""

    def __len__(self) -> int:
        return 11

    def __iter__(self) -> Any:
        return iter(range(10, -1, -1))


class Drawn(data.Sampler):
    """A user's sampler that is random without anybody knowing how."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)

    def __len__(self) -> int:
        return 11

    def __iter__(self) -> Any:
        return iter(self.random.permutation(11))


class ByEpoch(Drawn):
    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Any:
        return iter(np.random.default_rng(self.epoch).permutation(11))


class Buckets(data.Sampler):
    """Batches of sizes of their own, as for texts of one length."""

    batches: Any = ([0, 1, 2], [3], [4, 5, 6, 7], [8, 9], [10])

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Any:
        return iter(self.batches)


def batches(loader: data.DataLoader) -> list[list[int]]:
    return [batch.tolist() for batch in loader]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("sampler", [Reversed(), dt.arange(10, -1, -1), np.arange(10, -1, -1)])
def test_a_sampler_says_the_order(sampler: Any, num_workers: int) -> None:
    loader = data.DataLoader(DATASET, 4, sampler=sampler, num_workers=num_workers)
    assert batches(loader) == batches(loader) == [[10, 9, 8, 7], [6, 5, 4, 3], [2, 1, 0]]
    assert len(loader) == 3 and loader.sampler is sampler
    loader = data.DataLoader(DATASET, 4, sampler=sampler, drop_last=True, num_workers=num_workers)
    assert batches(loader) == [[10, 9, 8, 7], [6, 5, 4, 3]] and len(loader) == 2


def test_without_shard_the_numbers_are_the_ranks_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DTRAIN_RANK", "1")
    monkeypatch.setenv("DTRAIN_WORLD_SIZE", "3")
    assert batches(data.DataLoader(DATASET, 2, sampler=[1, 2, 3])) == [[1, 2], [3]]
    assert batches(data.DataLoader(DATASET, 2, sampler=[1, 2, 3], shard=True)) == [[2]]


@pytest.mark.parametrize(("size", "num_workers"), [(1, 0), (2, 0), (3, 0), (5, 0), (2, 2)])
@pytest.mark.parametrize(
    "make",
    [
        Reversed,
        lambda: data.RandomSampler(DATASET, seed=3),
        lambda: data.WeightedRandomSampler([1.0, 2.0] * 5 + [0.0], 17, seed=3),
        lambda: data.SubsetRandomSampler([1, 4, 9]),
    ],
)
def test_ranks_take_turns_in_the_order_of_a_sampler(make: Any, num_workers: int, size: int) -> None:
    whole = data.DataLoader(DATASET, 2 * size, sampler=make())
    ranks = [
        data.DataLoader(DATASET, 2, sampler=make(), shard=(rank, size), num_workers=num_workers) for rank in range(size)
    ]
    orders = []
    for _ in range(2):
        parts = [batches(rank) for rank in ranks]
        assert {len(part) for part in parts} == {len(whole)} == {len(rank) for rank in ranks}
        together = batches(whole)
        for step, batch in enumerate(together):
            assert sorted(batch) == sorted(chain(*(part[step] for part in parts)))
        orders.append(list(chain(*together)))
    assert make().__class__ is Reversed or orders[0] != orders[1]


@pytest.mark.parametrize(("size", "num_workers"), [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (2, 2)])
def test_ranks_take_turns_in_batches(num_workers: int, size: int) -> None:
    loaders = [
        data.DataLoader(DATASET, batch_sampler=Buckets(), shard=(rank, size), num_workers=num_workers)
        for rank in range(size)
    ]
    parts = [batches(loader) for loader in loaders]
    assert {len(part) for part in parts} == {-(-5 // size)} == {len(loader) for loader in loaders}
    inorder = [part[step] for step in range(len(parts[0])) for part in parts]
    assert inorder == [*Buckets.batches, *[[]] * (len(inorder) - 5)]


@pytest.mark.parametrize("drop_last", [False, True])
def test_a_batch_sampler_of_ours_is_its_parts(drop_last: bool) -> None:
    sampler = data.BatchSampler(data.RandomSampler(DATASET), 4, drop_last)
    loader = data.DataLoader(DATASET, batch_sampler=sampler)
    other = data.DataLoader(DATASET, 4, shuffle=True, drop_last=drop_last)
    for _ in range(2):
        assert batches(loader) == batches(other)
    assert loader.batch_sampler is sampler and len(loader) == len(other)


@pytest.mark.parametrize("size", [2, 3])
def test_batches_of_a_distributed_sampler_are_as_many_on_every_rank(size: int) -> None:
    """Of 11 samples in batches of 5 one rank would have 2 batches, the other 1 and a shorter one."""
    seen = []
    for rank in range(size):
        sampler = data.DistributedSampler(DATASET, size, rank)
        loader = data.DataLoader(DATASET, batch_sampler=data.BatchSampler(sampler, 5, drop_last=False))
        sampler.set_epoch(4)
        other = data.DataLoader(DATASET, 5, shuffle=True, shard=(rank, size))
        other.epoch = 4
        seen.append(batches(loader))
        assert seen[-1] == batches(other)
    assert len({len(part) for part in seen}) == 1


def test_set_epoch_of_a_sampler_leads_the_loader() -> None:
    sampler = data.RandomSampler(DATASET)
    loader = data.DataLoader(DATASET, 11, sampler=sampler)
    orders = []
    for epoch in (0, 3, 3):
        sampler.set_epoch(epoch)
        orders += batches(loader)
    assert orders[0] != orders[1] == orders[2] == sampler.indices(3).tolist()


GIVEN = {
    "reversed": lambda: {"sampler": Reversed(), "batch_size": 2},
    "random": lambda: {"sampler": data.RandomSampler(DATASET, seed=1), "batch_size": 2},
    "weighted": lambda: {"sampler": data.WeightedRandomSampler([1.0] * 11, 11), "batch_size": 2},
    "of batches": lambda: {"batch_sampler": data.BatchSampler(data.RandomSampler(DATASET), 2, False)},
}


@pytest.mark.parametrize("kind", GIVEN)
@pytest.mark.parametrize("after", [3, 2, 1])
def test_a_state_resumes_on_another_world(kind: str, after: int) -> None:
    def loader(rank: int, size: int) -> data.DataLoader:
        return data.DataLoader(DATASET, shard=(rank, size), **GIVEN[kind]())

    whole = data.DataLoader(DATASET, **{**GIVEN[kind](), "shard": (0, 1)})
    list(whole)
    wanted = list(chain(*batches(whole)))
    before = [loader(rank, 2) for rank in range(2)]
    for each in before:
        list(each)
    begun = [iter(each) for each in before]
    handed = [next(one).tolist() for one in begun]
    state = before[0].state_dict()
    assert state == before[1].state_dict() and state["num_samples"] == 4
    resumed = [loader(rank, after) for rank in range(after)]
    for each in resumed:
        each.load_state_dict(state)
        assert each.state_dict() == state
    rest = [batches(each) for each in resumed]
    assert sorted(chain(*handed)) == sorted(wanted[:4])
    assert sorted(chain(*chain(*rest))) == sorted(wanted[4:])
    follow = [batches(each) for each in resumed]
    assert sorted(chain(*chain(*follow))) == sorted(chain(*batches(whole)))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_state_between_batches_of_other_sizes(size: int) -> None:
    before = data.DataLoader(DATASET, batch_sampler=Buckets())
    walk = iter(before)
    assert [next(walk).tolist(), next(walk).tolist()] == [[0, 1, 2], [3]]
    after = [data.DataLoader(DATASET, batch_sampler=Buckets(), shard=(rank, size)) for rank in range(size)]
    for each in after:
        each.load_state_dict(before.state_dict())
    parts = [batches(each) for each in after]
    assert [part[step] for step in range(len(parts[0])) for part in parts][:3] == list(Buckets.batches[2:])
    assert all(each.epoch == 1 and each.state_dict()["num_samples"] == 0 for each in after)


def test_an_order_that_cannot_be_had_again_is_refused() -> None:
    before = data.DataLoader(DATASET, 2, sampler=Drawn())
    list(before)
    next(iter(before))
    after = data.DataLoader(DATASET, 2, sampler=Drawn())
    after.load_state_dict(before.state_dict())
    with pytest.raises(ValueError, match=r"set_epoch\(epoch\) on which alone"):
        list(after)
    for other in (data.DataLoader(DATASET, 2), data.DataLoader(DATASET, 2, sampler=Reversed())):
        with pytest.raises(ValueError, match="a state of length 11"):
            other.load_state_dict(before.state_dict())


def test_a_sampler_with_epochs_of_its_own_is_told_where_to_go_on() -> None:
    sampler = ByEpoch()
    before = data.DataLoader(DATASET, 2, sampler=sampler)
    sampler.set_epoch(0)
    list(before)
    sampler.set_epoch(1)
    walk = iter(before)
    handed = next(walk).tolist()
    after = data.DataLoader(DATASET, 2, sampler=ByEpoch())
    after.load_state_dict(before.state_dict())
    assert handed + list(chain(*batches(after))) == np.random.default_rng(1).permutation(11).tolist()


def test_a_generator_function_per_epoch_is_asked_once_an_epoch() -> None:
    loader = data.DataLoader(DATASET, 4, sampler=Drawn())
    random = np.random.default_rng(0)
    for _ in range(3):
        assert list(chain(*batches(loader))) == random.permutation(11).tolist()


class Asked(data.Dataset[Any]):
    """Its samples are what get_worker_info() says."""

    offset = 0

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        info = data.get_worker_info()
        assert isinstance(info, WorkerInfo) and info.dataset is self
        return info.id, info.num_workers, info.seed % 2**31, self.offset


def set_offset(number: int) -> None:
    info = data.get_worker_info()
    assert info is not None and info.id == number
    info.dataset.offset = 10 + number


@pytest.mark.filterwarnings("error")
def test_workers_know_which_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert data.get_worker_info() is None
    loader = data.DataLoader(Asked(), 2, num_workers=3, worker_init_fn=set_offset)
    loader._slot_nbytes = 4096  # measuring a sample would ask in this process
    found = list(loader)
    assert [batch[0].tolist() for batch in found] == [[0, 0], [1, 1], [2, 2], [0, 0]]
    assert all(batch[1].tolist() == [3, 3] for batch in found)
    assert len({batch[2].tolist()[0] for batch in found}) == 3
    assert [batch[3].tolist()[0] for batch in found] == [10, 11, 12, 10]
    assert data.get_worker_info() is None


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"sampler": iter([1, 2])}, TypeError, "a sampler with a length"),
        ({"sampler": [0.5]}, TypeError, "sample numbers"),
        ({"sampler": [11]}, IndexError, r"in \[0, 11\)"),
        ({"sampler": Reversed(), "shuffle": True}, ValueError, "shuffle left out"),
        ({"batch_sampler": [[1]], "batch_size": 3}, ValueError, "got batch_size"),
        ({"batch_sampler": [[1]], "drop_last": True, "shuffle": True}, ValueError, "shuffle and drop_last"),
        ({"batch_sampler": [[1]], "sampler": [1]}, ValueError, "sampler"),
        ({"batch_sampler": [1, 2]}, TypeError, "lists of sample numbers"),
        ({"batch_sampler": [[1, 12]]}, IndexError, r"in \[0, 11\)"),
        ({"batch_sampler": 7}, TypeError, "an iterable as batch_sampler"),
        ({"worker_init_fn": 3}, TypeError, "a function as worker_init_fn"),
    ],
)
def test_what_cannot_be_meant_is_said(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        list(data.DataLoader(DATASET, **options))


def test_a_sampler_that_breaks_its_promise_is_named() -> None:
    class Short(Reversed):
        def __iter__(self) -> Any:
            return iter([1, 2])

    with pytest.raises(ValueError, match=r"11 from len.* 2 from iterating"):
        list(data.DataLoader(DATASET, 2, sampler=Short()))


def test_pytorchs_order_of_arguments() -> None:
    loader = data.DataLoader(DATASET, 1, False, None, [[3, 1], [2]], 0, None)
    assert batches(loader) == [[3, 1], [2]]
    assert isinstance(next(iter(loader)), dt.Tensor)
