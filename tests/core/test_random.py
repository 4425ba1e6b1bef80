"""Random numbers: Philox against published vectors, streams equal eagerly and traced, distributions, states."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import dtrain.functional as F
from dtrain.base.dtype import FLOATS
from dtrain.capture.trace import trace
from dtrain.core import random
from dtrain.core.random import Generator
from dtrain.core.random_like import randint_like
from dtrain.core.tensor import Tensor
from dtrain.kernels.reference.random import philox

# Random123's kat_vectors, philox4x32 with 10 rounds: counter, key, result.
VECTORS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def _hex(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "result"), VECTORS)
def test_philox_gives_the_published_vectors(counter, key, result):
    lanes = philox(tuple(np.array([word], np.uint64) for word in _hex(counter)), tuple(_hex(key)))
    assert [int(lane[0]) for lane in lanes] == _hex(result)


def test_first_words_of_a_stream_are_the_first_block():
    # Seed 0 is key 0 and offset 0: the first published vector. 24 bits of each word make an f32.
    drawn = Generator(0).uniform(4).numpy()
    words = np.array(_hex(VECTORS[0][2]), np.uint64)
    np.testing.assert_array_equal(drawn, ((words >> 8).astype(np.float64) * 2.0**-24).astype(np.float32))


def test_equal_seeds_give_equal_numbers_and_others_differ():
    first, second, other = Generator(5), Generator(5), Generator(6)
    a, b, c = (generator.uniform((3, 4)).numpy() for generator in (first, second, other))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    assert not np.array_equal(a, first.uniform((3, 4)).numpy()), "a second draw repeats the first"


def test_state_dict_goes_on_where_it_was_taken():
    generator = Generator(-3)
    generator.normal(7)
    saved = generator.state_dict()
    expected = generator.normal(5).numpy()
    other = Generator(99)
    other.load_state_dict(saved)
    np.testing.assert_array_equal(other.normal(5).numpy(), expected)
    with pytest.raises(ValueError, match="expected key and offset, got seed"):
        other.load_state_dict({"seed": 1})


@pytest.mark.parametrize("seed", [0, -1, 2**63 - 1, 2**64 - 1, -(2**63)])
def test_any_64_bit_seed(seed):
    assert 0 <= Generator(seed).uniform().item() < 1


def test_a_seed_of_more_bits_is_refused():
    with pytest.raises(ValueError, match="expected an integer in"):
        Generator(2**64)


def test_fold_in_gives_streams_of_their_own():
    base = Generator(1)
    draws = [base.fold_in(rank).uniform(8).numpy().tobytes() for rank in range(6)]
    assert len({*draws, base.uniform(8).numpy().tobytes()}) == 7
    assert Generator(1).fold_in(3).uniform(8).numpy().tobytes() == draws[3]


def test_seed_gives_rank_0_the_plain_stream_and_others_their_own():
    random.seed(11, rank=0)
    zero = random.uniform(4).numpy()
    np.testing.assert_array_equal(zero, Generator(11).uniform(4).numpy())
    random.seed(11, rank=2)
    two = random.uniform(4).numpy()
    np.testing.assert_array_equal(two, Generator(11).fold_in(2).uniform(4).numpy())
    assert not np.array_equal(zero, two)


def test_the_process_rank_is_folded_in(monkeypatch):
    monkeypatch.setenv("DTRAIN_RANK", "2")
    monkeypatch.setenv("DTRAIN_WORLD_SIZE", "4")
    random.seed(11)
    np.testing.assert_array_equal(random.uniform(4).numpy(), Generator(11).fold_in(2).uniform(4).numpy())


def test_every_thread_has_a_default_generator():
    random.seed(1)
    found = []
    thread = threading.Thread(target=lambda: found.append(random.default_generator()))
    thread.start()
    thread.join()
    assert found[0] is not random.default_generator()


def test_traced_and_eager_draw_the_same_stream():
    def step(x: Tensor) -> tuple[Tensor, Tensor]:
        return F.dropout(x, 0.3), random.normal((3,)) + random.uniform((3,))

    traced = trace(step)
    x = F.ones((4, 5))
    random.seed(3)
    eager = [[tensor.numpy().copy() for tensor in step(x)] for _ in range(3)]
    random.seed(3)
    for expected in eager:
        for tensor, wanted in zip(traced(x), expected):
            np.testing.assert_array_equal(tensor.numpy(), wanted)
    random.seed(3)
    np.testing.assert_array_equal(traced(x)[0].numpy(), eager[0][0], err_msg="seeding between runs has no effect")


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.tag)
def test_uniform_lies_in_its_interval(dtype):
    drawn = Generator(2).uniform(20000, dtype=dtype).numpy().astype(np.float64)
    assert drawn.min() >= 0 and drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.01
    assert abs(drawn.var() - 1 / 12) < 0.003
    counts, _ = np.histogram(drawn, bins=8, range=(0, 1))
    assert np.abs(counts / 20000 - 1 / 8).max() < 0.01


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.tag)
def test_normal_has_its_moments(dtype):
    drawn = Generator(2).normal(20001, 1.0, 2.0, dtype=dtype).numpy().astype(np.float64)
    z = (drawn - 1) / 2
    assert np.isfinite(z).all()
    assert abs(z.mean()) < 0.03 and abs(z.var() - 1) < 0.04
    assert abs((z**3).mean()) < 0.08 and abs((z**4).mean() - 3) < 0.2
    # Both numbers of a Box–Muller pair come from one radius and must still not be correlated.
    assert abs((z[0:-1:2] * z[1::2]).mean()) < 0.03


def test_randint_covers_its_range_evenly():
    drawn = Generator(2).randint(-2, 5, 14000).numpy()
    values, counts = np.unique(drawn, return_counts=True)
    np.testing.assert_array_equal(values, np.arange(-2, 5))
    assert np.abs(counts - 2000).max() < 200
    assert Generator(2).randint(1, shape=3).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="randint: expected low < high, got low 3, high 3"):
        Generator(2).randint(3, 3)


def test_randint_of_bools_and_short_integers_stays_in_their_range():
    drawn = random.randint(0, 2, (200,), dtype="bool")
    assert drawn.dtype.tag == "bool"
    assert 60 < drawn.numpy().sum() < 140
    assert randint_like(drawn, 1, 2).tolist() == [True] * 200
    with pytest.raises(ValueError, match="randint: expected numbers 0 and 1 for dtype bool, got low 0, high 3"):
        random.randint(0, 3, (2,), dtype="bool")
    assert random.randint(255, 256, (1,), dtype="u8").tolist() == [255]
    for low, high, dtype in [(0, 257, "u8"), (-1, 3, "u8"), (-129, 0, "s8"), (0, 2**31 + 1, "s32")]:
        with pytest.raises((ValueError, OverflowError), match=f"randint: expected numbers from .* for dtype {dtype}"):
            random.randint(low, high, (2,), dtype=dtype)


@pytest.mark.parametrize("n", [0, 1, 2, 97])
def test_permutation_holds_each_number_once(n):
    drawn = Generator(2).permutation(n)
    assert drawn.dtype.tag == "s64"
    np.testing.assert_array_equal(np.sort(drawn.numpy()), np.arange(n))
    assert n < 97 or not np.array_equal(drawn.numpy(), np.arange(n))


@pytest.mark.parametrize("p", [0.0, 0.25, 1.0])
def test_bernoulli_hits_its_probability(p):
    drawn = Generator(2).bernoulli(10000, p).numpy()
    assert drawn.dtype == np.bool_
    assert abs(drawn.mean() - p) < (0.02 if 0 < p < 1 else 1e-12)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"expected a probability in \[0, 1\], got 1.5"):
        Generator(2).bernoulli(3, 1.5)
    with pytest.raises(TypeError, match="uniform: expected dtype f16 bf16 f32 f64, got s32"):
        Generator(2).uniform(3, dtype="s32")


def test_a_long_draw_is_short_draws_in_a_row():
    long, short = Generator(4), Generator(4)
    whole = long.uniform((100_000,)).numpy()
    np.testing.assert_array_equal(whole, np.concatenate([short.uniform((25_000,)).numpy() for _ in range(4)]))
    assert long.state_dict() == short.state_dict()
