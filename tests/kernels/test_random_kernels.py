"""Random numbers of every instruction set: the bits of the reference, wherever a draw begins and ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.kernel_checks import COMPILED, dtype_of

from dtrain.base.dtype import DType, float64, from_numpy
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.registry import reference_of

EXACT = [each for op in ("uniform", "dropout_mask") for each in COMPILED if each.op == op]
NORMAL = [each for each in COMPILED if each.op == "normal"]
KEYS = (0, 1, -1, -3, 2**32, 2**63 - 1, -(2**63), 0x0123_4567_89AB_CDEF)
OFFSETS = (0, 7, 2**32 - 8, 2**32 - 1, 2**33 + 5, 2**62 + 11)

ATTRS: dict[str, list[dict[str, Any]]] = {
    # The last p drops every word, but is less than 1.
    "dropout_mask": [{"p": p} for p in (0.0, 2.0**-32, 0.1, 0.5, 1 - 2.0**-32, 1 - 2.0**-34, 1.0)],
    "uniform": [
        {"low": low, "high": high} for low, high in ((0.0, 1.0), (-1.5, 4.0), (0.1, 0.3), (-1e300, 1e300), (-0.0, 0.0))
    ],
    "normal": [{"mean": 0.5, "std": 2.0}],
}  # fmt: skip

pytestmark = pytest.mark.skipif(not EXACT, reason="the compiled module is not built")


def draw(
    kernel: Candidate, dtype: DType, size: int, key: int, offset: int, attrs: dict[str, Any]
) -> tuple[np.ndarray, list[int]]:
    """The numbers, and the state behind them; no number beside them is written."""
    room = np.full(size + 20, 77, dtype.numpy)
    state, behind = np.array([key, offset], np.int64), np.zeros(2, np.int64)
    with np.errstate(over="ignore"):  # of the reference, where f32 has no such number
        kernel.function(state, out=(room[10 : 10 + size], behind), **attrs)
    assert (room[:10] == 77).all() and (room[10 + size :] == 77).all()
    return room[10 : 10 + size], behind.tolist()


def expect_the_reference(kernel: Candidate, size: int, key: int, offset: int, attrs: dict[str, Any]) -> None:
    dtype = from_numpy(dtype_of(kernel))
    got, state = draw(kernel, dtype, size, key, offset, attrs)
    wanted, state_behind = draw(reference_of(kernel.op), dtype, size, key, offset, attrs)
    assert state == state_behind
    assert got.tobytes() == wanted.tobytes(), f"{kernel.name}: {size} from ({key}, {offset}), {attrs}"


@pytest.mark.parametrize("kernel", EXACT, ids=lambda kernel: kernel.name)
def test_any_length(kernel: Candidate) -> None:
    for size in range(1, 71):
        for offset in (0, 2**32 - 8):
            expect_the_reference(kernel, size, 11, offset, ATTRS[kernel.op][2])


@pytest.mark.parametrize("kernel", EXACT, ids=lambda kernel: kernel.name)
def test_any_key_and_offset(kernel: Candidate) -> None:
    for key in KEYS:
        for offset in OFFSETS:
            expect_the_reference(kernel, 71, key, offset, ATTRS[kernel.op][1])


@pytest.mark.parametrize("kernel", EXACT, ids=lambda kernel: kernel.name)
def test_any_attributes(kernel: Candidate) -> None:
    for attrs in ATTRS[kernel.op]:
        expect_the_reference(kernel, 1003, -5, 2**32 - 8, attrs)


@pytest.mark.parametrize(
    "kernel", [each for each in EXACT if each.op == "dropout_mask"], ids=lambda kernel: kernel.name
)
def test_a_word_at_the_threshold_is_kept(kernel: Candidate) -> None:
    # No draw meets one of 2³² words by chance, so p is made of the word that comes first.
    for key in range(8):
        unit = draw(reference_of("uniform"), float64, 1, key, 0, {"low": 0.0, "high": 1.0})[0][0]
        word = int(unit * 2.0**32)
        for p, is_kept in ((word * 2.0**-32, True), ((word + 1) * 2.0**-32, False)):
            first = draw(kernel, from_numpy(dtype_of(kernel)), 1, key, 0, {"p": p})[0][0]
            assert bool(first) is is_kept


@pytest.mark.parametrize("kernel", NORMAL, ids=lambda kernel: kernel.name)
def test_normal_numbers_are_those_of_plain_code(kernel: Candidate) -> None:
    dtype = from_numpy(dtype_of(kernel))
    plain = next(each for each in NORMAL if each.name == f"normal_{dtype.tag}_scalar")
    for key in KEYS:
        for offset in OFFSETS:
            for size in (1, 2, 3, 15, 16, 17, 31, 32, 33, 70, 71):
                args = (dtype, size, key, offset, ATTRS["normal"][0])
                got, wanted = draw(kernel, *args), draw(plain, *args)
                assert got[0].tobytes() == wanted[0].tobytes() and got[1] == wanted[1]
