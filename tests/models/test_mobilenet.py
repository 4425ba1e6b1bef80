"""MobileNetV2: sizes, shapes, training."""

from __future__ import annotations

import pytest
from helpers.model_training import check_training, images

import dtrain as dt
from dtrain.models.mobilenet import mobilenet_v2, round_channels


def test_number_of_parameters_is_that_of_the_paper():
    parameters = list(mobilenet_v2().parameters())
    assert len(parameters) == 158 and sum(parameter.size for parameter in parameters) == 3_504_872


@pytest.mark.parametrize(("channels", "rounded"), [(32, 32), (16 * 0.35, 8), (24 * 0.75, 24), (1280, 1280), (10.4, 16)])
def test_channels_are_multiples_of_eight_not_far_below(channels, rounded):
    assert round_channels(channels) == rounded


def test_logits():
    with dt.no_grad():
        assert mobilenet_v2(5, width=0.25).eval()(dt.zeros((2, 3, 40, 32))).shape == (2, 5)


def test_it_trains():
    check_training(lambda: mobilenet_v2(10, width=0.25, dropout=0.1), *images(8, 32), steps=8, lr=0.01)
