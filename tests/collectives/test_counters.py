"""Counters of calls and bytes."""

from __future__ import annotations

from dtrain.collectives.communicator.counters import Counters


def test_counts_calls_and_bytes_per_kind() -> None:
    counters = Counters()
    counters.add("all_reduce", 64)
    counters.add("all_reduce", 36)
    counters.add("barrier", 0)
    assert (counters["all_reduce"].calls, counters["all_reduce"].nbytes) == (2, 100)
    assert counters["broadcast"].calls == 0
    assert (counters.calls, counters.nbytes) == (3, 100)
    assert list(counters) == ["all_reduce", "barrier"], "asking for a kind does not list it"
    assert counters.as_dict()["all_reduce"] == {"calls": 2, "nbytes": 100}
    assert "barrier" in repr(counters)
    counters.reset()
    assert counters.calls == 0 and not counters.as_dict()
