"""The samplers on their own: what they yield, how it is spread, and that (seed, epoch) alone decide it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import dtrain as dt
from dtrain import data

NUMBERS = list(range(10))


def test_a_sampler_of_ones_own_says_what_it_lacks() -> None:
    with pytest.raises(NotImplementedError, match="Mine has no __iter__"):
        iter(type("Mine", (data.Sampler,), {})(NUMBERS))
    assert isinstance(data.DistributedSampler(NUMBERS, 1, 0), data.Sampler)


def test_in_order() -> None:
    sampler = data.SequentialSampler(NUMBERS)
    assert list(sampler) == list(sampler) == NUMBERS and len(sampler) == 10


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: data.RandomSampler(NUMBERS, seed=seed),
        lambda seed: data.RandomSampler(NUMBERS, True, 30, seed=seed),
        lambda seed: data.SubsetRandomSampler(NUMBERS, seed=seed),
        lambda seed: data.WeightedRandomSampler([1.0] * 10, 8, seed=seed),
        lambda seed: data.WeightedRandomSampler([1.0] * 10, 8, replacement=False, seed=seed),
    ],
)
def test_seed_and_epoch_decide(make: Any) -> None:
    one, same, other = make(1), make(1), make(2)
    first, second = list(one), list(one)
    assert len(first) == len(one) and all(type(number) is int for number in first)
    assert first != second and list(same) == first and list(other) != first
    one.set_epoch(1)
    assert list(one) == second
    assert list(make(2**64 - 1)) != list(make(-2))


def test_random_orders() -> None:
    assert sorted(data.RandomSampler(NUMBERS)) == NUMBERS
    wrapped = list(data.RandomSampler(NUMBERS, num_samples=25))
    assert sorted(wrapped[:10]) == sorted(wrapped[10:20]) == NUMBERS != wrapped[:10]
    assert wrapped[:10] != wrapped[10:20] and len(set(wrapped[20:])) == 5
    assert len(list(data.RandomSampler(NUMBERS, num_samples=3))) == 3
    assert list(data.RandomSampler([])) == list(data.RandomSampler([], True)) == []
    counts = Counter(data.RandomSampler(NUMBERS, replacement=True, num_samples=20_000))
    assert set(counts) == set(NUMBERS) and all(abs(count - 2000) < 200 for count in counts.values())
    assert data.RandomSampler(NUMBERS, num_samples=3).num_samples == 3


def test_an_order_is_that_of_shuffle() -> None:
    loader = data.DataLoader(NUMBERS, 10, shuffle=True, seed=4)
    sampler = data.RandomSampler(NUMBERS, seed=4)
    for _ in range(3):
        (batch,) = loader
        assert batch.tolist() == list(sampler)


def test_subsets() -> None:
    assert sorted(data.SubsetRandomSampler(np.array([7, 3, 3]))) == [3, 3, 7]
    assert list(data.SubsetRandomSampler([])) == []


def test_weights() -> None:
    weights = dt.tensor([0.0, 1.0, 3.0, 0.0, 6.0, 0.0])
    counts = Counter(data.WeightedRandomSampler(weights, 20_000))
    assert set(counts) == {1, 2, 4}
    for number, share in ((1, 0.1), (2, 0.3), (4, 0.6)):
        assert abs(counts[number] / 20_000 - share) < 0.02
    firsts: Counter[int] = Counter()
    for seed in range(2000):
        drawn = list(data.WeightedRandomSampler(weights, 3, replacement=False, seed=seed))
        assert sorted(drawn) == [1, 2, 4]
        firsts[drawn[0]] += 1
    for number, share in ((1, 0.1), (2, 0.3), (4, 0.6)):
        assert abs(firsts[number] / 2000 - share) < 0.05


def test_a_generator_draws_the_seed() -> None:
    for make in (
        lambda generator: data.RandomSampler(NUMBERS, generator=generator),
        lambda generator: data.SubsetRandomSampler(NUMBERS, generator=generator),
        lambda generator: data.WeightedRandomSampler([1.0] * 10, 9, generator=generator),
    ):
        generator = dt.Generator().manual_seed(3)
        first, second = list(make(generator)), list(make(generator))
        assert first != second and list(make(dt.Generator().manual_seed(3))) == first
        make(None)


def test_batches() -> None:
    batches = data.BatchSampler(data.SequentialSampler(NUMBERS), batch_size=4, drop_last=False)
    assert list(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]] and len(batches) == 3
    batches = data.BatchSampler(["a", "b", "c"], 2, True)
    assert list(batches) == [["a", "b"]] and len(batches) == 1
    batches = data.BatchSampler(data.RandomSampler(NUMBERS, seed=2), 5, False)
    first = list(batches)
    assert first != list(batches)
    batches.set_epoch(0)
    assert list(batches) == first
    data.BatchSampler([1, 2], 2, False).set_epoch(3)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: data.RandomSampler(NUMBERS, num_samples=0), ValueError, "num_samples of at least 1"),
        (lambda: data.RandomSampler(NUMBERS, 5), TypeError, "replacement"),
        (lambda: list(data.RandomSampler([], num_samples=3)), ValueError, "an empty dataset"),
        (lambda: data.WeightedRandomSampler([1.0, -1.0], 1), ValueError, "none below 0"),
        (lambda: data.WeightedRandomSampler([1.0, float("nan")], 1), ValueError, "finite"),
        (lambda: data.WeightedRandomSampler([0.0, 0.0], 1), ValueError, "one above 0"),
        (lambda: data.WeightedRandomSampler([1.0, 0.0, 2.0], 3, False), ValueError, "3 above 0"),
        (lambda: data.WeightedRandomSampler([1.0], True), ValueError, "num_samples"),
        (lambda: data.BatchSampler([1], 0, False), ValueError, "batch_size of at least 1"),
        (lambda: data.BatchSampler([1], 2, 1), ValueError, "drop_last"),
    ],
)
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_the_seed_that_was_given() -> None:
    assert dt.Generator(7).initial_seed() == 7 and dt.Generator(-1).initial_seed() == 2**64 - 1
    dt.manual_seed(11)
    dt.rand(3)
    assert dt.initial_seed() == 11


@pytest.mark.parametrize(
    "make",
    [
        lambda **options: data.RandomSampler(range(4), **options),
        lambda **options: data.SubsetRandomSampler([3, 1], **options),
        lambda **options: data.WeightedRandomSampler([1.0, 2.0], 3, **options),
    ],
)
def test_seeds_are_whole_numbers(make) -> None:
    with pytest.raises(TypeError, match=r"seed: expected a whole number, got 1\.5"):
        make(seed=1.5)
    assert list(make(seed=np.int64(3))) == list(make(seed=3))


def test_counts_may_be_numpys() -> None:
    assert len(list(data.RandomSampler(range(4), num_samples=np.int64(3)))) == 3
    assert len(list(data.WeightedRandomSampler([1.0, 2.0], np.int64(3)))) == 3
