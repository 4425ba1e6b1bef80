"""Numbers of tensors that go into Python inside a traced function: other numbers lead to another capture."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dtrain as dt
from dtrain import nn
from dtrain.base.errors import TraceError

WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "item": lambda y, w: y * w.item(),
    "float": lambda y, w: y * float(w),
    "int": lambda y, w: y * int(w),
    "round": lambda y, w: y * round(w),
    "bool": lambda y, w: y * (5.0 if w.detach() else 1.0),
    "tolist": lambda y, w: y * w.tolist()[0],
    "numpy": lambda y, w: y * dt.tensor(w.numpy()),
    "NumPy's function": lambda y, w: y * float(np.asarray(w).max()),
    "DLPack": lambda y, w: y * float(np.from_dlpack(w)[0]),
    "Tensor()": lambda y, w: y * dt.Tensor(w),
    "deepcopy": lambda y, w: y * copy.deepcopy(w),
    "a detached twin": lambda y, w: y * w.detach().item(),
    "a sum of NumPy's": lambda y, w: y.reshape(1, 2) * float(w.numpy().sum()),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["tensor", "parameter"])
def test_other_numbers_are_another_capture(way: str, kind: str) -> None:
    first, second = (0.0, 3.0) if way == "bool" else (2.0, 3.0)
    held = dt.tensor([first]) if kind == "tensor" else nn.Parameter(dt.tensor([first]))
    traced, x = dt.trace(lambda y: WAYS[way](y, held)), dt.tensor([1.0, 2.0])
    with dt.no_grad():
        before = traced(x)
        assert traced(x).tolist() == before.tolist() and len(traced.graphs) == 1
        held.assign_(dt.tensor([second]))
        after, wanted = traced(x), WAYS[way](x, held)
        assert after.tolist() == wanted.tolist() != before.tolist()
        held.data = dt.tensor([first])
        assert traced(x).tolist() == before.tolist()
    assert len(traced.graphs) == 2


def test_nan_is_the_number_that_it_was() -> None:
    held = dt.tensor([np.nan, 1.0])
    traced = dt.trace(lambda y: y * float(held.numpy()[1]))
    traced(dt.tensor([1.0]))
    traced(dt.tensor([1.0]))
    assert len(traced.graphs) == 1


def test_a_number_that_the_function_has_written_is_none_yet() -> None:
    held = dt.tensor([1.0, 2.0])
    view = held[1:]

    def written(y: Any, read: Callable[[], float]) -> Any:
        held.add_(1.0)
        return y * read()

    for read in (lambda: held.numpy()[0], lambda: view.item(), lambda: float(held.detach().tolist()[0])):
        with pytest.raises(TraceError, match="which this traced function has written into"):
            dt.trace(written)(dt.tensor([1.0]), read)
    assert held.tolist() == [1.0, 2.0]


def test_a_counter_that_runs_write_is_read_anew_for_each() -> None:
    seen = dt.tensor(0)

    @dt.trace
    def warmed_up(y: Any) -> Any:
        factor = 0.5 if seen.item() < 2 else 1.0
        seen.add_(1)
        return y * factor

    assert [warmed_up(dt.tensor([2.0])).item() for _ in range(4)] == [1.0, 1.0, 2.0, 2.0]


def test_printing_relies_on_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    held = dt.tensor([1.0])

    @dt.trace
    def shown(y: Any) -> Any:
        print(held, f"{held:.1f}", repr(y))
        return y * held

    for number in (1.0, 2.0):
        held.assign_(dt.tensor([number]))
        assert shown(dt.tensor([1.0])).tolist() == [number]
    assert len(shown.graphs) == 1 and "1.0" in capsys.readouterr().out


def test_a_tensor_left_by_a_traced_function_is_no_pickle() -> None:
    model = nn.Linear(2, 1)

    @dt.trace
    def leaving(y: Any) -> Any:
        model.latest = y * 2
        return model(y)

    leaving(dt.tensor([[1.0, 2.0]]))
    for escaped in (model.latest, model, {"loss": model.latest}):
        with pytest.raises(TraceError, match=r"a pickle at .*f32\[1,2\].*left over from .*leaving, at .*return it"):
            pickle.dumps(escaped)
    # A copy of a model stands for the same value, and has as few numbers.
    for twin in (copy.deepcopy(model), copy.copy(model)):
        assert twin.latest.is_symbolic and twin.latest.value is model.latest.value
        assert twin.weight.tolist() == model.weight.tolist()


def test_copies_inside_are_tensors_of_the_function() -> None:
    @dt.trace
    def doubled(y: Any) -> Any:
        return copy.copy(y) + copy.deepcopy(y)

    assert doubled(dt.tensor([1.0, 2.0])).tolist() == [2.0, 4.0]


def test_results_are_as_of_their_run() -> None:
    """A tensor that a traced function returns is in memory of its own, also the state of a model."""
    model = nn.Linear(1, 1)
    state = dt.trace(lambda y: model.state_dict())(dt.tensor([1.0]))
    before = state["weight"].tolist()
    with dt.no_grad():
        model.weight.fill_(9.0)
    assert state["weight"].tolist() == before
