"""The one loop: turns, ratios within turns, repeated calls; and the record with its page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from dtrain.base.turns import Samples, repeated, take_turns
from dtrain.bench import report
from dtrain.bench.collectives.link import Link, parse_rate, slowest_link
from dtrain.bench.measure import slowest, together
from dtrain.collectives.transports.thread_communicator import run_threads
from dtrain.kernels.measured import machine


def test_contestants_take_turns_and_every_second_turn_goes_backwards() -> None:
    called: list[str] = []

    def sample(name: str, seconds: float) -> float:
        called.append(name)
        return seconds

    samples = take_turns({"a": lambda: sample("a", 1.0), "b": lambda: sample("b", 2.0)}, 3, warm_up=1)
    assert "".join(called) == "ba" + "ab" + "ba" + "ab"
    assert samples == {"a": Samples((1.0,) * 3), "b": Samples((2.0,) * 3)}


def test_ratios_are_formed_within_turns() -> None:
    """A machine that becomes ten times slower leaves them alone."""
    fast, slow = Samples((1.0, 10.0, 100.0)), Samples((2.0, 20.0, 150.0))
    ratio = slow.ratio_to(fast)
    assert (ratio.median, ratio.least, ratio.greatest) == (2.0, 1.5, 2.0)
    with pytest.raises(ValueError, match="shorter"):
        fast.ratio_to(Samples((1.0,)))


def test_the_figures_of_samples() -> None:
    samples = Samples(tuple(float(number) for number in range(1, 12)))
    assert (samples.median, samples.least, samples.greatest) == (6.0, 1.0, 11.0)
    assert samples.spread == pytest.approx((np.quantile(range(12), 0.9) - np.quantile(range(12), 0.1)) / 6, rel=0.2)
    assert Samples((3.0,)).spread == 0


def test_repeated_calls_fill_their_time_and_wait_for_the_device() -> None:
    count = waits = 0

    def call() -> None:
        nonlocal count
        count += 1

    def wait() -> None:
        nonlocal waits
        waits += 1

    sample = repeated(call, least_seconds=0.005, synchronize=wait)
    count = waits = 0
    seconds = sample()
    assert count > 100 and waits == 2
    assert 0.0005 < seconds * count < 0.5


def test_the_slowest_rank_decides() -> None:
    def rank(world):  # type: ignore[no-untyped-def]
        samples = {"a": Samples((1.0 + world.rank, 5.0 - world.rank)), "b": Samples((0.5, float(world.rank)))}
        assert together(world, lambda: None)() >= 0
        return slowest(world, samples)

    for found in run_threads(3, rank):
        assert found == {"a": Samples((3.0, 5.0)), "b": Samples((0.5, 2.0))}


def test_the_record_holds_everything_and_its_page_shows_it(tmp_path: Path) -> None:
    args = argparse.Namespace(size=3, op="sum", json=tmp_path / "r.json", html=tmp_path / "r.html")
    rows = [{"label": "a <b>", "ms": 1.5, "n": 2, "note": None}, {"label": "c", "ms": 3.0, "n": 4, "note": "x"}]
    report.write(report.record("some", args, rows, ranks=2), args, label="label", figure="ms")
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["benchmark"] == "some" and record["ranks"] == 2 and record["rows"] == rows
    assert record["settings"] == {"size": 3, "op": "sum"}
    assert record["machine"]["cores"] >= 1 and record["machine"]["numpy"] == np.__version__
    assert machine().items() <= record["machine"].items(), "the build and the features too"
    page = (tmp_path / "r.html").read_text()
    assert "a &lt;b&gt;" in page and "<b>" not in page
    assert page.count('class="bar"') == 2 and 'width="420.0"' in page and 'width="210.0"' in page


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10G", 1.25e9), ("1Gbit", 1.25e8), ("400Mbit/s", 5e7), ("2.5 gbps", 3.125e8), ("800kbit", 1e5), ("8", 1.0)],
)
def test_rates(text: str, rate: float) -> None:
    assert parse_rate(text) == pytest.approx(rate)


@pytest.mark.parametrize("text", ["", "fast", "-1G", "1.2.3G", "0", "10GB/h", "G"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected bits a second such as 10G"):
        parse_rate(text)


def test_on_one_host_there_is_no_link_between_hosts() -> None:
    assert run_threads(2, lambda world: slowest_link(world, 1e9)) == [None, None]


def test_the_link_is_the_slowest_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    from dtrain.bench.collectives import link

    def rank(world):  # type: ignore[no-untyped-def]
        class Hosts:
            size = world.size

            def all_gather_object(self, value):  # type: ignore[no-untyped-def]
                if isinstance(value, str):
                    return [f"host{number}" for number in range(world.size)]
                return [Link(1e9, "a"), Link(5e8, "b"), Link(2e9, "c")]

        return slowest_link(Hosts(), None), slowest_link(Hosts(), 7.0)  # type: ignore[arg-type]

    monkeypatch.setattr(link, "card", lambda: Link(1e9, "card"))
    for found, given in run_threads(3, rank):
        assert found == Link(5e8, "b")
        assert given == Link(7.0, "--link-rate")
