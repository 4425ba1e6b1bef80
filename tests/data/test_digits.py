"""The bundled digits."""

from __future__ import annotations

import numpy as np
import pytest

from dtrain.data import digits as module
from dtrain.data.digits import Digits


def test_sizes_types_and_range():
    for train, count in ((True, 1437), (False, 360)):
        part = Digits(train=train)
        assert len(part) == count
        assert part.images.shape == (count, 1, 8, 8) and part.images.dtype == np.float32
        assert part.labels.dtype == np.int64 and set(part.labels) == set(range(10))
        assert part.images.min() == 0 and part.images.max() == 1
    image, label = Digits()[0]
    assert image.shape == (1, 8, 8) and 0 <= label < 10


def test_the_parts_are_disjoint_and_complete():
    pixels, labels = module._load()
    whole = sorted((*image.ravel(), label) for image, label in zip(pixels, labels))
    parts = [
        (*np.rint(image * 16).astype(np.uint8).ravel(), label)
        for part in (Digits(train=True), Digits(train=False))
        for image, label in zip(part.images, part.labels)
    ]
    assert sorted(parts) == whole


def test_both_parts_have_each_class_in_the_same_share():
    train, held_out = (np.bincount(Digits(train=train).labels) for train in (True, False))
    share = held_out / (train + held_out)
    assert np.all(np.abs(share - 0.2) < 0.01)


def test_a_missing_file_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_PATH", tmp_path / "digits.npz")
    with pytest.raises(RuntimeError, match=r"digits\.npz of the package.*reinstall dtrain"):
        module._load.__wrapped__()
