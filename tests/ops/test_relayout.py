"""relayout: every element in its lane, zeros in the padding, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.laid_out import laid_out, lanes_of, padding

import dtrain as dt
import dtrain.functional as F
from dtrain.base.dtype import ALL, DType
from dtrain.base.errors import LayoutError
from dtrain.base.layout import ALL as LAYOUTS
from dtrain.base.layout import LAID_OUT, NCHW8C, NCHW16C, NHWC, PLAIN, Layout
from dtrain.core.apply import apply
from dtrain.graph.op import get_op

SHAPES = [(2, 13, 3, 2), (1, 1, 1, 1), (3, 16, 1, 2), (1, 17, 2, 1), (2, 35, 1, 1), (0, 5, 2, 2), (2, 0, 3, 1)]


def _image(shape, dtype: DType = dt.float32) -> np.ndarray:
    return np.arange(1, 1 + int(np.prod(shape))).reshape(shape).astype(dtype.numpy)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_element_lies_in_its_lane(shape, layout: Layout) -> None:
    array = _image(shape)
    x = F.relayout(dt.as_tensor(array), layout)
    assert x.shape == shape and x.type.layout is layout and x.array.shape == layout.array_shape(shape)
    for element, lane in lanes_of(array, layout).items():
        assert x.array[lane] == array[element]
    assert x.array.sum() == array.sum(), "zeros in the padding lanes"
    np.testing.assert_array_equal(x.numpy(), array)


@pytest.mark.parametrize("dtype", ALL, ids=str)
@pytest.mark.parametrize("source", LAYOUTS, ids=str)
@pytest.mark.parametrize("target", LAYOUTS, ids=str)
def test_from_any_layout_to_any_other(source: Layout, target: Layout, dtype: DType) -> None:
    array = _image((2, 13, 2, 3), dtype)
    moved = laid_out(array, source).relayout(target)
    assert moved.type.layout is target and moved.dtype is dtype
    assert source is target or not padding(moved).any(), "what lies in the padding of the source stays there"
    assert moved.numpy().tobytes() == array.tobytes()


def test_the_same_layout_is_the_same_tensor() -> None:
    x = dt.ones((1, 2, 1, 1)).relayout("NHWC")
    assert x.relayout("NHWC") is x


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (1, 2, 3, 4, 5)])
def test_only_images_have_layouts(shape) -> None:
    assert dt.ones(shape).relayout("NCHW").shape == shape
    with pytest.raises(LayoutError, match=r"layout NHWC: expected a tensor \[N, C, H, W\], got one of shape"):
        dt.ones(shape).relayout("NHWC")


def test_unknown_layouts_list_the_known_ones() -> None:
    with pytest.raises(LayoutError, match=r"layout: expected one of NCHW, NHWC, NCHW4c, .*, got 'NCHW5c'"):
        dt.ones((1, 2, 1, 1)).relayout("NCHW5c")


def test_the_attributes_of_the_op_say_how_the_input_lies() -> None:
    x = dt.ones((1, 2, 1, 1))
    for source, layout in ((NHWC, PLAIN), (PLAIN, PLAIN), (NHWC, NCHW8C)):
        with pytest.raises(LayoutError, match="relayout: expected an input in "):
            apply(get_op("relayout"), x, source=source, layout=layout)


@pytest.mark.parametrize("layout", LAID_OUT, ids=str)
def test_the_gradient_comes_back_in_the_layout_of_the_input(layout: Layout) -> None:
    array = _image((2, 13, 2, 3))
    x = dt.tensor(array, requires_grad=True)
    weights = dt.as_tensor(array[::-1].copy())
    (x.relayout(layout) * weights.relayout(layout)).relayout("NCHW").sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), weights.numpy())
    leaf = laid_out(array, layout).requires_grad_()
    (leaf.relayout("NCHW") * weights).sum().backward()
    assert leaf.grad.type is leaf.type
    np.testing.assert_array_equal(leaf.grad.numpy(), weights.numpy())


def test_under_a_further_derivative() -> None:
    x = dt.tensor(_image((1, 3, 1, 2)), requires_grad=True)
    y = x.relayout(NCHW16C)
    (first,) = dt.grad((y * y * y).relayout("NCHW").sum(), x, create_graph=True)
    first.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 6 * x.detach().numpy())


def test_gaps_in_the_input_do_not_matter() -> None:
    array = _image((2, 13, 3, 4))
    x = dt.as_tensor(array).permute(0, 1, 3, 2)[:, :, ::2]
    np.testing.assert_array_equal(x.relayout("NCHW8c").numpy(), array.transpose(0, 1, 3, 2)[:, :, ::2])
