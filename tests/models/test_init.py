"""Models by name."""

from __future__ import annotations

import pytest

from dtrain import models


def test_every_model_can_be_made_by_name():
    assert set(models.MODELS) == {
        "resnet18",
        "resnet50",
        "mobilenet_v2",
        "small_transformer",
        "digits_mlp",
        "digits_cnn",
    }
    assert len(list(models.create("digits_mlp", hidden=8).parameters())) == 6


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"one of resnet18, .*, got 'alexnet'"):
        models.create("alexnet")
