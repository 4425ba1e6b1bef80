"""Interned objects: the only ones of their facts while somebody holds them, and gone when nobody does."""

from __future__ import annotations

import threading
from itertools import count

from dtrain.base import element, tensor_type
from dtrain.base.dtype import float32, int8
from dtrain.base.interned import Interned


class Thing:
    """Told from others by its identity alone."""


def test_what_is_held_stays_the_only_one_and_the_rest_goes() -> None:
    table: Interned[Thing] = Interned(8)
    held = {key: table.make(Thing, key, ("also", key)) for key in range(3)}
    for key in range(3, 1000):
        table.make(Thing, key, ("also", key))
        assert len(table.found) <= 16
    for key, thing in held.items():
        assert table.make(Thing, key) is table.found["also", key] is thing


def test_the_table_is_looked_through_seldom() -> None:
    """Twice as many as are held may come before it is done again, however many these are."""
    table: Interned[Thing] = Interned(8)
    looked = []
    let_go = table._let_go
    table._let_go = lambda: (looked.append(len(table.found)), let_go())  # type: ignore[method-assign]
    held = [table.make(Thing, key) for key in range(4096)]
    assert looked == [8 * 2**k for k in range(9)] and len(table.found) == len(held)


def test_shapes_and_scales_of_the_past_are_not_kept() -> None:
    kept = tensor_type.tensor_type((7, 123_456), float32)
    scales = [tensor_type.tensor_type((2,), element.quantized("s8", 1 + i / 7)) for i in range(50)]
    for size in range(20_000):
        tensor_type.tensor_type((size, 3, 123_456), float32)
        element.quantized("s8", 1e-3 * (size + 1))
    live = len(tensor_type._TYPES.found), len(element._ELEMENTS.found)
    assert live[0] < 15_000 and live[1] < 5_000, "most were dropped; what other tests hold is there"
    assert tensor_type.tensor_type((7, 123_456), float32) is kept
    assert [tensor_type.tensor_type((2,), element.quantized("s8", 1 + i / 7)) for i in range(50)] == scales
    assert scales[0].element is element.quantized(int8, 1.0)


def test_threads_get_the_same_one_while_the_table_is_looked_through() -> None:
    table: Interned[Thing] = Interned(4)
    failures: list[int] = []
    numbers = count()
    shared = {key: table.make(Thing, key) for key in ("a", "b", "c")}
    done = threading.Event()

    def fill() -> None:
        while not done.is_set():
            table.make(Thing, next(numbers))

    def ask() -> None:
        for turn in range(20_000):
            for key, thing in shared.items():
                if (table.found.get(key) or table.make(Thing, key)) is not thing:
                    failures.append(turn)

    fillers, askers = ([threading.Thread(target=work) for _ in range(2)] for work in (fill, ask))
    for thread in (*fillers, *askers):
        thread.start()
    for thread in askers:
        thread.join()
    done.set()
    for thread in fillers:
        thread.join()
    assert not failures
