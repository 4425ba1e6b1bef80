"""Context: gradient modes nest, survive errors, decorate functions, and belong to one thread."""

from __future__ import annotations

import threading

import pytest

import dtrain as dt
from dtrain.core.context import set_grad_enabled


def test_modes_nest() -> None:
    seen = [dt.is_grad_enabled()]
    with dt.no_grad():
        seen.append(dt.is_grad_enabled())
        with dt.enable_grad():
            seen.append(dt.is_grad_enabled())
        seen.append(dt.is_grad_enabled())
    assert [*seen, dt.is_grad_enabled()] == [True, False, True, False, True]


def test_one_manager_may_be_entered_twice() -> None:
    manager = set_grad_enabled(False)
    with manager, manager:
        assert not dt.is_grad_enabled()
    assert dt.is_grad_enabled()


def test_an_error_restores_the_mode() -> None:
    with pytest.raises(KeyError), dt.no_grad():
        raise KeyError
    assert dt.is_grad_enabled()


def test_a_decorated_function_keeps_its_name_and_may_call_itself() -> None:
    @dt.no_grad()
    def count(n: int) -> list[bool]:
        """Count down."""
        return [dt.is_grad_enabled(), *(count(n - 1) if n else [])]

    assert count(2) == [False] * 3
    assert dt.is_grad_enabled()
    assert (count.__name__, count.__doc__) == ("count", "Count down.")


def test_a_decorated_function_runs_in_several_threads() -> None:
    barrier, seen = threading.Barrier(2), []

    @dt.no_grad()
    def meet() -> None:
        barrier.wait(10)
        seen.append(dt.is_grad_enabled())
        barrier.wait(10)

    def work() -> None:
        meet()
        seen.append(dt.is_grad_enabled())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(seen) == [False, False, True, True]


def test_everything_is_of_its_thread() -> None:
    seen: list[tuple[bool, bool]] = []

    @dt.trace
    def step(x):
        thread = threading.Thread(target=lambda: seen.append((dt.is_grad_enabled(), dt.is_tracing())))
        thread.start()
        thread.join(10)
        return x

    with dt.no_grad():
        step(dt.ones(1))
    assert seen == [(True, False)]
