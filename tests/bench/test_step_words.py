"""What `dtrain bench step` says of exposed communication: a difference that lies under the noise is called that."""

from __future__ import annotations

import math

import pytest

from dtrain.bench.benchmarks.step import exposed_words, noise_of, overlap_share


def words(exposed, communication, noise):
    share = overlap_share(exposed, communication, noise)
    report = {"exposed_ms": exposed, "communication_ms": communication, "exposed_noise_ms": noise}
    return exposed_words(report | {"overlap_share": share, "exposed_share": exposed / 100})


@pytest.mark.parametrize(
    ("exposed", "communication", "noise", "text"),
    [
        (2.0, 10.0, 0.5, "2.0% of the step (± 0.50 ms); 80% hidden"),
        (0.4, 10.0, 0.5, "under the noise"),
        (-0.4, 8.0, 0.5, "under the noise"),  # was "105% hidden"
        (-3.0, 8.0, 0.5, "under the noise"),  # computation alone cannot be slower: drift
        (14.2, 10.0, 0.5, "14.2% of the step (± 0.50 ms); nothing hidden"),  # was "−42% hidden"
        (10.2, 10.0, 0.5, "10.2% of the step (± 0.50 ms); 0% hidden"),
        (2.0, 1.5, 1.8, "how much is hidden lies under the noise"),
        (2.0, 10.0, None, "three steps at least"),
    ],
)
def test_words(exposed, communication, noise, text):
    said = words(exposed, communication, noise)
    assert text in said
    share = overlap_share(exposed, communication, noise)
    assert share is None or 0 <= share <= 1


def test_noise():
    assert noise_of([1.0, 2.0]) is None
    assert noise_of([3.0] * 5) == 0
    few, many = noise_of([1.0, 2.0, 3.0, 4.0]), noise_of([1.0, 2.0, 3.0, 4.0] * 4)
    assert math.isclose(few, 2 * many)
    assert noise_of([1.0, 2.0, 3.0, 4.0, 500.0]) < 5  # one step that was disturbed
