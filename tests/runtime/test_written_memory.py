"""What a traced function writes must lie apart from everything else that a call brings: else it is refused."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
from dtrain.base.errors import TraceError
from dtrain.kernels.device_arrays import extent

REFUSED = "tensors that it updates to share memory with no other that it reads"


def numbers() -> np.ndarray:
    return np.arange(6.0).reshape(2, 3)


def test_a_written_argument_and_a_view_of_it() -> None:
    step = dt.trace(lambda x, y: (x.add_(1) * 1, y * 2))
    x, apart = dt.tensor(numbers()), dt.tensor(np.zeros(3))
    step(dt.tensor(numbers()), apart)
    for part in (x[0], x.transpose(1, 0)[:, 1], x[1].detach(), dt.as_tensor(x.numpy()[0])):
        with pytest.raises(TraceError, match=REFUSED):
            step(x, part)
    assert x.tolist() == numbers().tolist(), "it is refused before anything is written"
    assert step(x, apart)[0].tolist() == (numbers() + 1).tolist()


def test_two_written_arguments() -> None:
    memory = numbers()
    step = dt.trace(lambda x, y: (x.add_(1), y.add_(x[0])))
    with pytest.raises(TraceError, match=REFUSED):
        step(dt.as_tensor(memory), dt.as_tensor(memory[0]))
    step(dt.as_tensor(memory[:1]), dt.as_tensor(memory[1]))
    assert memory.tolist() == [[1, 2, 3], [4, 6, 8]], "neighbours in one buffer are fine"


@pytest.mark.parametrize("number_of_states", [1, 5])
def test_an_argument_inside_of_an_updated_state(number_of_states: int) -> None:
    states = [dt.tensor(numbers()) for _ in range(number_of_states)]

    @dt.trace
    def step(x):
        for state in states:
            state.add_(1)
        return x * 2

    for state in states:
        for part in (state[0], state[1:, :].reshape(3), dt.as_tensor(state.numpy()[1]), state.detach()[0]):
            with pytest.raises(TraceError, match=REFUSED):
                step(part)
    assert step(dt.ones(3)).tolist() == [2, 2, 2]
    assert step(np.ones(0)).tolist() == []
    assert all(state.tolist() == (numbers() + 2).tolist() for state in states)


def test_a_twin_of_an_updated_state_is_no_argument_either() -> None:
    state = dt.tensor(numbers())
    step = dt.trace(lambda x: (state.add_(1) * 1, x * 2))
    step(dt.tensor(numbers()))
    with pytest.raises(TraceError, match=REFUSED):
        step(state.detach())


def test_a_state_inside_of_a_written_argument() -> None:
    memory = numbers()
    state = dt.as_tensor(memory[1])
    step = dt.trace(lambda x: (x.add_(1) * 1, state * 2))
    assert step(dt.tensor(numbers()))[1].tolist() == [6, 8, 10]
    with pytest.raises(TraceError, match=REFUSED):
        step(dt.as_tensor(memory))


def test_memory_that_other_libraries_own() -> None:
    """Views of it have no NumPy owner in common."""
    memory = bytearray(6 * 8)

    def view(count: int, offset: int = 0) -> dt.Tensor:
        return dt.as_tensor(np.frombuffer(memoryview(memory), np.float64, count, offset))

    state = view(6)
    step = dt.trace(lambda x: (state.add_(1) * 1, x * 2))
    with pytest.raises(TraceError, match=REFUSED):
        step(view(2, 16))
    other = view(3, 8)
    with pytest.raises(TraceError, match=REFUSED):
        dt.trace(lambda: (state.add_(1) * 1, other * 2))()
    assert step(dt.ones(2))[1].tolist() == [2, 2]


def test_what_is_only_read_may_overlap() -> None:
    x = dt.tensor(numbers())
    assert dt.trace(lambda x, y: x + y)(x, x[1]).tolist() == (numbers() + numbers()[1]).tolist()
    kept = dt.zeros(())
    step = dt.trace(lambda x, y: kept.add_((x + y).sum()))
    assert step(x, x[0]) == x.sum() + 2 * x[0].sum()


def test_a_state_that_is_exchanged_is_looked_at_anew() -> None:
    state, x = dt.tensor(numbers()), dt.tensor(numbers())
    step = dt.trace(lambda x: (state.add_(1) * 1, x * 2))
    step(x[0])
    state.array = x.numpy()
    with pytest.raises(TraceError, match=REFUSED):
        step(x[0])


EXTENTS = [
    (np.s_[:], 0, 6),
    (np.s_[1], 3, 6),
    (np.s_[:, 1], 1, 5),
    (np.s_[::-1], 0, 6),
    (np.s_[0, ::-2], 0, 3),
    (np.s_[1:, :2], 3, 5),
]


@pytest.mark.parametrize(("part", "first", "behind"), EXTENTS)
def test_extents(part, first: int, behind: int) -> None:
    whole = numbers()
    start, end = extent(whole[part])
    assert (start - whole.ctypes.data, end - whole.ctypes.data) == (8 * first, 8 * behind)


def test_an_array_without_elements_has_no_extent() -> None:
    start, end = extent(np.zeros((3, 0, 4))[::2])
    assert start == end
