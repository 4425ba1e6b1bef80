"""Layers by PyTorch's names: padding, other sizes, distances, losses; where they are made; how weights begin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import nn
from dtrain.base.keywords import PLACED
from dtrain.nn import init

LAYERS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("Linear", "Embedding"), (4, 6)),
    **dict.fromkeys(("Conv1d", "Conv2d", "ConvTranspose2d"), (4, 6, 3)),
    "GroupNorm": (2, 4), "PReLU": (4,), "Transformer": (4, 2, 1, 1, 8),
    **dict.fromkeys(("Attention", "MultiheadAttention"), (4, 2)),
    **dict.fromkeys(("TransformerEncoderLayer", "TransformerDecoderLayer"), (4, 2, 8)),
}  # fmt: skip


def make(name: str, **options: Any) -> nn.Module:
    if "InstanceNorm" in name:
        options |= {"affine": True, "track_running_stats": True}
    layer: nn.Module = getattr(nn, name)(*LAYERS.get(name, (4,)), **options)
    return layer


NAMES = [*PLACED, *(f"InstanceNorm{n}d" for n in (1, 2, 3))]
NAMES.remove("InstanceNorm")  # the base of these, which is not public


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_with_tensors_takes_a_dtype_and_a_device(name: str) -> None:
    for dtype in ("f16", "f64"):
        layer = make(name, device="cpu", dtype=dtype)
        floats = [t for t in (*layer.parameters(), *layer.buffers()) if t.dtype.is_floating]
        assert floats and {tensor.dtype.tag for tensor in floats} == {dtype}
    assert {p.dtype for p in make(name, device=None, dtype=None).parameters()} == {dt.float32}
    with pytest.raises(TypeError, match="dtyp"):
        make(name, dtyp="f64")


def test_all_layers_that_have_parameters_are_in_the_table() -> None:
    held = []
    for name, kind in vars(nn).items():
        if isinstance(kind, type) and issubclass(kind, nn.Module) and not name.startswith("_"):
            try:
                layer = make(name)
            except Exception:
                continue
            held += [name] if list(layer.parameters()) and not list(layer.children()) else []
    assert set(held) <= set(NAMES)


def test_a_subclass_passes_them_on() -> None:
    class Mine(nn.Linear):
        def __init__(self, size: int, **options: Any) -> None:
            super().__init__(size, size, **options)

    assert Mine(3, dtype=dt.float64, bias=False).weight.dtype is dt.float64


# Batches that were seen -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.SyncBatchNorm])
@pytest.mark.parametrize("traced", [False, True])
def test_batches_of_training_are_counted(kind: Any, traced: bool, momentum: float | None) -> None:
    layer = kind(3, momentum=momentum)
    assert layer.num_batches_tracked.item() == 0 and layer.num_batches_tracked.dtype is dt.int64
    forward = dt.trace(lambda x: layer(x)) if traced else layer
    for count in range(1, 4):
        forward(dt.ones(4, 3) * count)
        assert layer.num_batches_tracked.item() == count
    layer.eval()
    layer(dt.ones(4, 3))
    assert layer.num_batches_tracked.item() == 3
    assert list(layer.state_dict()) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    other = kind(3, momentum=momentum)
    other.load_state_dict(layer.state_dict())
    assert other.num_batches_tracked.item() == 3
    assert kind(3, track_running_stats=False).num_batches_tracked is None


def test_files_without_a_count_load() -> None:
    layer = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False))
    state = layer.state_dict()
    del state["0.num_batches_tracked"]
    assert layer.load_state_dict(state) == ([], [])
    del state["0.running_mean"]
    with pytest.raises(KeyError, match=r"1 missing \(0.running_mean\)"):
        layer.load_state_dict(state)


# Layers ---------------------------------------------------------------------------------------------------------------

NUMPY_MODES = {"ZeroPad": "constant", "ReflectionPad": "reflect", "ReplicationPad": "edge", "CircularPad": "wrap"}


@pytest.mark.parametrize("kind", NUMPY_MODES)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_padding_is_numpys(kind: str, axes: int) -> None:
    x = np.random.default_rng(axes).normal(size=(2, 3, 4, 5, 6)[: axes + 2])
    sides = [1, 2, 3, 0, 2, 1][: 2 * axes]
    pairs = [(0, 0), (0, 0), *reversed([(sides[i], sides[i + 1]) for i in range(0, 2 * axes, 2)])]
    layer = getattr(nn, f"{kind}{axes}d")
    np.testing.assert_array_equal(
        layer(sides)(dt.tensor(x, dtype="f64")).numpy(), np.pad(x, pairs, mode=NUMPY_MODES[kind])
    )
    both = [(0, 0), *[(2, 2)] * axes]
    one = layer(padding=2)(dt.tensor(x[0], dtype="f64"))
    np.testing.assert_array_equal(one.numpy(), np.pad(x[0], both, mode=NUMPY_MODES[kind]))
    with pytest.raises(ValueError, match=f"one for each of {2 * axes} sides"):
        layer((1,) * (2 * axes + 1))
    with pytest.raises(ValueError, match=f"{kind}{axes}d: expected"):
        layer(1)(dt.zeros(2))


def test_padding_with_a_constant() -> None:
    assert nn.ConstantPad1d((1, 0), 3.5)(dt.zeros(1, 2)).tolist() == [[3.5, 0.0, 0.0]]
    assert "value=3.5" in repr(nn.ConstantPad2d(1, 3.5)) and "(1, 1, 1, 1)" in repr(nn.ReflectionPad2d(1))
    assert nn.ConstantPad3d(1, 2.0)(dt.zeros(1, 1, 1, 1)).sum().item() == 52.0


def test_channels_and_places() -> None:
    x = dt.arange(2 * 8 * 3 * 2).reshape(2, 8, 3, 2)
    fine = nn.PixelShuffle(2)(x)
    assert fine.shape == (2, 2, 6, 4)
    for c in range(2):
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            assert fine[:, c, i::2, j::2].tolist() == x[:, 4 * c + 2 * i + j].tolist()
    assert nn.PixelUnshuffle(2)(fine).tolist() == x.tolist()
    assert F.pixel_unshuffle(F.pixel_shuffle(x[0], 2), 2).tolist() == x[0].tolist()
    with pytest.raises(ValueError, match="channels that divide by 9"):
        F.pixel_shuffle(x, 3)
    with pytest.raises(ValueError, match="height and width that divide by 2"):
        F.pixel_unshuffle(x, 2)


def test_images_of_other_sizes() -> None:
    x = dt.tensor(np.random.default_rng(0).normal(size=(1, 2, 3, 4)).astype(np.float32))
    for layer, options in (
        (nn.Upsample(scale_factor=2), {"scale_factor": 2}),
        (nn.Upsample((5, 6), mode="bilinear"), {"size": (5, 6), "mode": "bilinear"}),
        (nn.UpsamplingNearest2d(scale_factor=1.5), {"scale_factor": 1.5}),
        (nn.UpsamplingBilinear2d(7), {"size": 7, "mode": "bilinear", "align_corners": True}),
    ):
        assert layer(x).tolist() == F.interpolate(x, **options).tolist() and "mode=" in repr(layer)


@pytest.mark.parametrize(("kind", "shape"), [("1d", (4, 3, 7)), ("2d", (4, 3, 5, 2)), ("3d", (4, 3, 2, 3, 4))])
def test_instance_norm_of_one_to_three_axes(kind: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).normal(3, 2, size=shape)
    axes = tuple(range(2, len(shape)))
    wanted = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    layer = getattr(nn, f"InstanceNorm{kind}")(3, dtype="f64")
    np.testing.assert_allclose(layer(dt.tensor(x, dtype="f64")).numpy(), wanted, rtol=1e-9)
    np.testing.assert_allclose(layer(dt.tensor(x[0], dtype="f64")).numpy(), wanted[0], rtol=1e-9)
    tracking = getattr(nn, f"InstanceNorm{kind}")(3, track_running_stats=True, dtype="f64")
    tracking(dt.tensor(x, dtype="f64"))
    np.testing.assert_allclose(tracking.running_mean.numpy(), 0.1 * x.mean(axes).mean(0), rtol=1e-9)
    np.testing.assert_allclose(tracking.running_var.numpy(), 0.9 + 0.1 * x.var(axes, ddof=1).mean(0), rtol=1e-9)
    with pytest.raises(ValueError, match=f"InstanceNorm{kind}: expected x"):
        layer(dt.zeros(2, 4))


def test_distances_and_losses() -> None:
    a, b, c = (dt.tensor(np.random.default_rng(i).normal(size=(5, 3)).astype(np.float32)) for i in range(3))
    assert nn.PairwiseDistance(p=1, keepdim=True)(a, b).tolist() == F.pairwise_distance(a, b, 1, keepdims=True).tolist()
    found = nn.TripletMarginLoss(0.5, p=1, swap=True, reduction="sum")(a, b, c)
    assert found.item() == F.triplet_margin_loss(a, b, c, margin=0.5, p=1, swap=True, reduction="sum").item()
    target = dt.sign(b[:, 0])
    found = nn.MarginRankingLoss(margin=0.2)(a[:, 0], b[:, 0], target)
    assert found.item() == F.margin_ranking_loss(a[:, 0], b[:, 0], target, margin=0.2).item()


# How weights begin ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"), [(0.0, 1.0, -2.0, 2.0), (1.0, 0.02, -2.0, 2.0), (0.0, 1.0, 1.0, 5.0)]
)
def test_a_normal_distribution_cut_off(mean: float, std: float, a: float, b: float) -> None:
    dt.manual_seed(0)
    drawn = init.trunc_normal_(dt.zeros(100, 200), mean, std, a, b).numpy()
    assert a <= drawn.min() and drawn.max() <= b
    normal = np.random.default_rng(0).normal(mean, std, 400_000)
    kept = normal[(normal >= a) & (normal <= b)]
    for share in (0.1, 0.5, 0.9):
        assert abs(np.quantile(drawn, share) - np.quantile(kept, share)) < 0.04 * std
    assert init.trunc_normal_(dt.zeros(3, dtype="f16"), std=0.02).dtype is dt.float16


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3), (4, 2, 3, 3), (9, 2, 2)])
def test_orthogonal_rows_or_columns(shape: tuple[int, ...]) -> None:
    weight = init.orthogonal_(dt.zeros(*shape, dtype="f64"), gain=2.0).numpy().reshape(shape[0], -1)
    product = weight @ weight.T if shape[0] <= weight.shape[1] else weight.T @ weight
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)
    assert not np.allclose(weight, init.orthogonal_(dt.zeros(*shape)).numpy().reshape(weight.shape) * 2)


def test_rotations_are_evenly_spread() -> None:
    dt.manual_seed(1)
    first = np.array([init.orthogonal_(dt.zeros(2, 2)).numpy()[0] for _ in range(400)])
    assert np.abs(first.mean(0)).max() < 0.12


def test_weights_that_pass_on() -> None:
    assert init.eye_(dt.zeros(2, 3)).tolist() == [[1.0, 0, 0], [0, 1.0, 0]]
    x = dt.tensor(np.random.default_rng(0).normal(size=(1, 4, 5, 5)).astype(np.float32))
    weight = init.dirac_(dt.zeros(4, 4, 3, 3))
    np.testing.assert_array_equal(F.conv2d(x, weight, padding=1).numpy(), x.numpy())
    grouped = init.dirac_(dt.zeros(4, 2, 3, 3), groups=2)
    np.testing.assert_array_equal(F.conv2d(x, grouped, padding=1, groups=2).numpy(), x.numpy())
    sparse = init.sparse_(dt.zeros(10, 6), 0.25, std=3.0).numpy()
    assert ((sparse == 0).sum(0) == math.ceil(2.5)).all() and np.abs(sparse).max() > 1


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: init.trunc_normal_(dt.zeros(2), a=1.0, b=-1.0), "a <= b"),
        (lambda: init.trunc_normal_(dt.zeros(2), std=0.0), "a std above 0"),
        (lambda: init.trunc_normal_(dt.zeros(2), a=90.0, b=91.0), "bounds that numbers fall between"),
        (lambda: init.orthogonal_(dt.zeros(2)), "at least 2 axes"),
        (lambda: init.eye_(dt.zeros(2)), "2 axes"),
        (lambda: init.dirac_(dt.zeros(2, 2)), "3 to 5 axes"),
        (lambda: init.sparse_(dt.zeros(2, 2), 1.5), "a sparsity"),
    ],
)
def test_errors_of_beginnings(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()
