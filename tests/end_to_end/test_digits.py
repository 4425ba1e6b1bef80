"""Training on three ranks is training on one: losses, parameters, and what changes when sync-BN is left out."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.run_ranks import run_ranks

PROGRAM = str(Path(__file__).with_name("digits_training.py"))


def train(size: int, **arguments: Any) -> list[dict[str, Any]]:
    return run_ranks(PROGRAM, "train", size, arguments=arguments, timeout=120)


@cache
def in_full(size: int, dtype: str) -> list[dict[str, Any]]:
    """All steps, which more than one test looks at."""
    return train(size, dtype=dtype)


def difference(first: list[float], second: list[float]) -> float:
    a, b = np.array(first), np.array(second)
    return float(np.max(np.abs(a - b) / np.abs(a)))


@pytest.mark.distributed
@pytest.mark.parametrize(("dtype", "bound"), [("f32", 5e-5), ("f64", 1e-9)])
def test_three_ranks_have_the_loss_curve_of_one(dtype: str, bound: float) -> None:
    (alone,) = in_full(1, dtype)
    together = in_full(3, dtype)
    assert alone["losses"][-1] < 0.5 * alone["losses"][0], "the network must learn, or equality says little"
    for result in together:
        assert difference(alone["losses"], result["losses"]) <= bound


@pytest.mark.distributed
def test_plain_batch_norm_on_three_ranks_differs() -> None:
    (alone,) = in_full(1, "f32")
    together = train(3, steps=15, sync=False)
    assert difference(alone["losses"][:15], together[0]["losses"]) > 1e-3


@pytest.mark.distributed
def test_parameters_are_bitwise_equal_over_ranks_runs_and_packing() -> None:
    first = in_full(3, "f32")
    for result in first[1:]:
        assert result["digests"] == first[0]["digests"]
    assert len(set(first[0]["digests"])) == 50, "parameters must change in every step"
    again = train(3, steps=20)
    assert again[0]["digests"] == first[0]["digests"][:20]
    unpacked = train(3, steps=20, bucket_mb=0)
    assert unpacked[0]["digests"] == first[0]["digests"][:20]
    assert len(unpacked[0]["buckets"]) > len(first[0]["buckets"])


@pytest.mark.distributed
def test_eager_training_gives_the_same_parameters_as_traced() -> None:
    traced = train(2, steps=8)
    eager = train(2, steps=8, traced=False)
    assert traced[0]["digests"] == eager[0]["digests"]
