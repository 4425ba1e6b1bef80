"""Residual networks: sizes, shapes, training."""

from __future__ import annotations

import pytest
from helpers.model_training import check_training, images

import dtrain as dt
from dtrain import nn
from dtrain.models.resnet import resnet18, resnet50


@pytest.fixture(scope="module")
def deep():
    return resnet50().eval()


@pytest.fixture(scope="module")
def shallow():
    return resnet18().eval()


@pytest.mark.parametrize(("name", "count", "size"), [("shallow", 62, 11_689_512), ("deep", 161, 25_557_032)])
def test_numbers_of_parameters_are_those_of_the_paper(request, name, count, size):
    parameters = list(request.getfixturevalue(name).parameters())
    assert len(parameters) == count
    assert sum(parameter.size for parameter in parameters) == size


def test_names_are_those_that_checkpoints_elsewhere_have(shallow):
    names = list(shallow.state_dict())
    for name in ("conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer2.0.downsample.1.bias", "fc.bias"):
        assert name in names


@pytest.mark.parametrize("name", ["shallow", "deep"])
def test_logits_for_any_image_size(request, name):
    model = request.getfixturevalue(name)
    with dt.no_grad():
        assert model(dt.zeros((2, 3, 33, 40))).shape == (2, 1000)
        assert model(dt.zeros((0, 3, 32, 32))).shape == (0, 1000)


def test_small_images_keep_their_size_in_the_stem():
    model = resnet18(7, in_channels=1, small_images=True).eval()
    assert isinstance(model.pool, nn.Identity)
    sizes = []
    model.layer4.register_forward_hook(lambda module, args, output: sizes.append(output.shape[2:]))
    with dt.no_grad():
        assert model(dt.zeros((2, 1, 16, 16))).shape == (2, 7)
    assert sizes == [(2, 2)]


def test_resnet18_trains():
    check_training(lambda: resnet18(10), *images(4, 32), steps=4, lr=0.02)


def test_resnet50_trains():
    check_training(lambda: resnet50(10), *images(4, 32), steps=6, lr=0.0005)
