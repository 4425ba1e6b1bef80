"""Errors: what each can be caught as, their wording, the rank in front of them."""

from __future__ import annotations

import inspect

import pytest

from dtrain.base import errors
from dtrain.base.errors import DtrainError, expected

BUILT_IN = {
    "ShapeError": ValueError,
    "DtypeError": TypeError,
    "LayoutError": ValueError,
    "DeviceError": ValueError,
    "TraceError": RuntimeError,
    "GraphError": ValueError,
    "CollectiveError": RuntimeError,
    "CollectiveMismatchError": errors.CollectiveError,
    "PeerLostError": errors.CollectiveError,
    "CheckpointError": ValueError,
    "LaunchError": RuntimeError,
}


@pytest.mark.parametrize(("name", "base"), list(BUILT_IN.items()))
def test_each_is_also_a_built_in(name: str, base: type[Exception]) -> None:
    error = getattr(errors, name)
    assert issubclass(error, base)
    assert issubclass(error, DtrainError)
    assert error.__name__ in (errors.__doc__ or ""), "the tree in the docstring names every error"


def test_the_table_is_complete() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, DtrainError) and value is not DtrainError
    }
    assert defined == set(BUILT_IN)


def test_wording() -> None:
    assert expected("matmul", "a", "b") == "matmul: expected a, got b"
    assert expected("matmul", "a", "b", "do c") == "matmul: expected a, got b; do c"


def test_a_distributed_run_names_the_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(DtrainError("lost")) == "lost"
    monkeypatch.setattr(errors, "rank_tag", lambda: "[rank 2/8] ")
    assert str(errors.ShapeError("lost")) == "[rank 2/8] lost"
