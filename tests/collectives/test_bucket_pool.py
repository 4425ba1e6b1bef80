"""The pool of memory for buckets: pieces of one owner each, back with the last array, and no such memory at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dtrain as dt
from dtrain import collectives as dist
from dtrain.base.errors import CollectiveError
from dtrain.collectives.memory.bucket_pool import BucketPool, pool_of
from dtrain.collectives.memory.packed import address_of
from dtrain.collectives.transports.thread_communicator import run_threads


def grown(*sizes: int) -> BucketPool:
    class Ordinary:
        def allocate(self, nbytes: int) -> np.ndarray:
            return np.zeros(nbytes, np.uint8)

    pool = BucketPool()
    for size in sizes:
        pool.grow(Ordinary(), size)  # type: ignore[arg-type]
    return pool


def test_pieces_do_not_overlap_and_come_back_with_their_last_view() -> None:
    pool = grown(1000)
    assert pool.free_nbytes == 1024
    first, second = pool.lend(100), pool.lend(512)
    assert first.nbytes == 128 and second.nbytes == 512 and pool.free_nbytes == 384
    assert address_of(second) >= address_of(first) + 128
    first[...], second[...] = 1, 2
    assert (first == 1).all() and (second == 2).all()
    view = second[64:128].view(np.float32).reshape(4, 4)
    del second
    assert pool.free_nbytes == 384, "a view is still there"
    del view
    assert pool.free_nbytes == 896
    del first
    assert pool.lend(1024) is not None, "neighbours are one piece again"


def test_the_smallest_piece_that_fits_is_lent_and_none_where_none_does() -> None:
    pool = grown(1024, 256)
    small = pool.lend(256)
    assert small is not None
    large = pool.lend(1024)
    assert large is not None
    assert pool.lend(64) is None
    assert grown().lend(64) is None
    assert grown(64).lend(0) is None


@pytest.mark.parametrize("seed", range(5))
def test_random_loans_keep_what_was_written(seed: int) -> None:
    random, pool, held = np.random.default_rng(seed), grown(4096, 1024), {}
    for turn in range(200):
        if held and random.random() < 0.5:
            key = list(held)[int(random.integers(len(held)))]
            assert (held.pop(key) == key).all()
        elif (memory := pool.lend(int(random.integers(1, 900)))) is not None:
            memory[...] = turn % 256
            held[turn % 256] = memory
    held.clear()
    memory = None
    assert pool.free_nbytes == 4096 + 1024


def test_ranks_grow_together_and_see_one_anothers_buckets() -> None:
    def program(communicator: Any) -> Any:
        pool = pool_of(communicator)
        assert pool_of(communicator) is pool
        pool.grow(communicator, 40000)
        bucket = pool.lend(40000)[:40000].view(np.float32)
        bucket[...] = communicator.rank + 1
        communicator.all_reduce(bucket, out=bucket)
        return bucket.copy()

    for found in run_threads(3, program):
        assert (found == 6).all()


def test_wrapping_a_model_again_makes_no_more_room() -> None:
    def program(communicator: Any) -> list[int]:
        with dist.using(communicator):
            layer, free = dt.nn.Linear(7, 9), []
            for _ in range(3):
                dist.data_parallel(layer)
                free.append(pool_of(communicator).free_nbytes)
            return free

    nbytes = 4 * 64 + 64  # 63 and 9 numbers of f32, in whole lines
    assert run_threads(2, program) == [[nbytes] * 3] * 2


@pytest.mark.parametrize("is_broken", [False, True])
def test_without_shared_memory_buckets_lie_in_ordinary_memory(is_broken: bool) -> None:
    class Full:
        def __init__(self) -> None:
            self.is_broken = is_broken

        def allocate(self, nbytes: int) -> np.ndarray:
            raise CollectiveError("rank 1 has no shared memory left")

    pool = BucketPool()
    if is_broken:
        with pytest.raises(CollectiveError):
            pool.grow(Full(), 64)  # type: ignore[arg-type]
    else:
        with pytest.warns(UserWarning, match="copied in and out of shared memory: rank 1 has no shared memory left"):
            pool.grow(Full(), 64)  # type: ignore[arg-type]
    assert pool.lend(64) is None
