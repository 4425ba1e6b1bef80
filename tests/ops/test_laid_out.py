"""Ops on tensors that are laid out: those that compute lane by lane agree with the plain ones, all others refuse."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.kernel_checks import COMPILED
from helpers.laid_out import SHAPE, laid_out, padding
from helpers.op_calls import WITHOUT_CALLS, call_of, case_id

import dtrain as dt
import dtrain.functional as F
from dtrain.base.dtype import DType
from dtrain.base.errors import LayoutError
from dtrain.base.layout import LAID_OUT, NCHW16C, NHWC, PLAIN, Layout
from dtrain.base.tensor_type import tensor_type
from dtrain.core.apply import apply_all
from dtrain.core.tensor import wrap
from dtrain.graph.inference import infer_types
from dtrain.graph.layout_rules import LANE_BY_LANE, LAYOUT_RULES, LayoutRule, lane_by_lane
from dtrain.graph.op import Op, all_ops
from dtrain.kernels import registry
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.choice import candidates, choose
from dtrain.kernels.problem import Problem
from dtrain.kernels.registry import all_kernels, reference_of

LANES = [op for op in all_ops() if LAYOUT_RULES.of(op.name) is LANE_BY_LANE]
CASES = [(op, dtype) for op in LANES for dtype in (op.dtypes[0], op.dtypes[-1])]
REFUSING = [op for op in all_ops() if op.name not in LAYOUT_RULES and op.name not in WITHOUT_CALLS]


def _arrays(op: Op, dtype: DType) -> list[np.ndarray]:
    call, random = call_of(op, 0), np.random.default_rng(5)
    arrays = []
    for entry in call.inputs:
        numbers = random.uniform(call.low, call.high, SHAPE)
        is_mask = isinstance(entry, np.ndarray) and entry.dtype == np.bool_
        arrays.append(numbers > 0 if is_mask else np.ceil(numbers * 3).astype(dtype.numpy))
        if dtype.is_floating and not is_mask:
            arrays[-1] = numbers.astype(dtype.numpy)
    return arrays


@pytest.mark.parametrize(("op", "dtype"), CASES, ids=case_id)
def test_lane_by_lane_is_bitwise_the_plain_result(op: Op, dtype: DType) -> None:
    arrays, attrs = _arrays(op, dtype), call_of(op, 0).attrs
    if op.checks_values([wrap(array).type for array in arrays]):
        return  # the next test
    wanted = [tensor.numpy() for tensor in apply_all(op, [wrap(array) for array in arrays], attrs)]
    for layout in LAID_OUT:
        outputs = apply_all(op, [laid_out(array, layout) for array in arrays], attrs)
        assert all(tensor.type.layout is layout and tensor.shape == SHAPE for tensor in outputs)
        for got, right in zip(outputs, wanted, strict=True):
            np.testing.assert_array_equal(got.numpy(), right)

        @dt.trace
        def traced(*tensors, layout=layout):
            return [tensor.relayout("NCHW") for tensor in apply_all(op, tensors, attrs)]

        for got, right in zip(traced(*[laid_out(array, layout) for array in arrays]), wanted, strict=True):
            np.testing.assert_array_equal(got.numpy(), right)


def test_values_that_an_op_refuses_may_lie_in_padding_lanes() -> None:
    x = dt.ones(SHAPE, dtype="s32")
    assert F.floor_div(x.relayout("NHWC"), x.relayout("NHWC")).numpy().all(), "this layout has no padding"
    for function in (F.floor_div, F.mod, F.pow):
        with pytest.raises(LayoutError, match=r"takes any value, since padding lanes hold any, got s32.*relayout"):
            function(x.relayout("NCHW16c"), x.relayout("NCHW16c"))


@pytest.mark.parametrize("op", REFUSING, ids=case_id)
def test_an_op_without_a_rule_refuses_before_anything_else(op: Op) -> None:
    count = len(call_of(op, 0).inputs)
    attrs = call_of(op, 0).attrs
    if not count:
        return  # nothing goes in
    plain = tensor_type(SHAPE, op.dtypes[-1])
    for position in range(count):
        types = [plain.with_(layout=NCHW16C) if i == position else plain for i in range(count)]
        said = rf"^{op.name}: expected tensors in the plain layout, got .*NCHW16c.*write x.relayout\('NCHW'\) before it"
        with pytest.raises(LayoutError, match=said):
            infer_types(op, types, attrs)
        tensors = [dt.Tensor(np.zeros(type.array_shape, type.array_dtype), type) for type in types]
        with pytest.raises(LayoutError, match=said):
            apply_all(op, tensors, attrs)


def test_conv2d_claims_no_layout() -> None:
    with pytest.raises(LayoutError, match=r"conv2d: expected tensors in the plain layout"):
        F.conv2d(dt.ones((1, 8, 5, 5)).relayout("NCHW8c"), dt.ones((4, 8, 3, 3)))


@pytest.mark.parametrize("function", [F.add, F.maximum, F.less, lambda x, y: F.where(x > 0, x, y)])
def test_layouts_do_not_mix(function) -> None:
    x = dt.ones(SHAPE)
    wanted = r"expected inputs of one layout, got .*write x.relayout\('NCHW16c'\) for the others"
    for other in (x, x.relayout("NHWC"), x.relayout("NCHW8c"), dt.ones((2,))):
        with pytest.raises(LayoutError, match=wanted):
            function(x.relayout("NCHW16c"), other)


def test_numbers_go_with_any_layout() -> None:
    array = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    x = laid_out(array, NCHW16C)
    np.testing.assert_array_equal((2 - x * dt.tensor(3.0)).numpy(), 2 - array * np.float32(3))
    np.testing.assert_array_equal(F.clip(x, -1, 1).numpy(), array.clip(-1, 1))
    np.testing.assert_array_equal(F.where(x > 0, x, 0).numpy(), np.where(array > 0, array, 0))


def test_images_broadcast_but_not_along_blocks_of_channels() -> None:
    x, per_channel, per_pixel = (np.random.default_rng(i).standard_normal(s) for i, s in enumerate(
        [SHAPE, (1, 13, 1, 1), (2, 1, 3, 2)]))  # fmt: skip
    for layout in LAID_OUT:
        got = laid_out(x, layout) * laid_out(per_channel, layout)
        np.testing.assert_array_equal(got.numpy(), x * per_channel)
        if layout.is_blocked:
            with pytest.raises(LayoutError, match=rf"mul: expected {layout} inputs of one number of channels"):
                laid_out(x, layout) * laid_out(per_pixel, layout)
        else:
            np.testing.assert_array_equal((laid_out(x, layout) * laid_out(per_pixel, layout)).numpy(), x * per_pixel)


@pytest.mark.parametrize("layout", LAID_OUT, ids=str)
def test_gradients_have_the_layout_of_their_tensor(layout: Layout) -> None:
    arrays = [np.random.default_rng(i).uniform(0.5, 2, s) for i, s in enumerate([SHAPE, (1, 13, 1, 1), ()])]

    def loss(x, scale, shift):
        return F.sigmoid(F.log(x * scale) / x + shift * F.tanh(x))

    plain = [dt.tensor(array, requires_grad=True) for array in arrays]
    loss(*plain).sum().backward()
    other = [laid_out(array, layout) if array.ndim else dt.tensor(array) for array in arrays]
    for tensor in other:
        tensor.requires_grad_()
    loss(*other).relayout("NCHW").sum().backward()
    for mine, right in zip(other, plain):
        assert mine.grad.type is mine.type
        np.testing.assert_array_equal(mine.grad.numpy(), right.grad.numpy())


@pytest.mark.parametrize("layout", LAID_OUT, ids=str)
def test_what_is_written_into_a_tensor_lies_as_it_does(layout: Layout) -> None:
    array = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    x, plain = laid_out(-array, layout), wrap(array)
    memory = x.array
    np.testing.assert_array_equal(x.copy_(plain).numpy(), array)
    np.testing.assert_array_equal(dt.zeros(SHAPE).copy_(x).numpy(), array)
    np.testing.assert_array_equal(x.copy_(dt.as_tensor(2 * array.astype(np.float64))).numpy(), 2 * array)
    np.testing.assert_array_equal(x.copy_(laid_out(array, NCHW16C)).numpy(), array)
    np.testing.assert_array_equal(x.add_(1).mul_(x).numpy(), (array + 1) * (array + 1))
    assert not x.zero_().numpy().any() and x.fill_(3).numpy().all()
    assert np.unique(x.normal_().numpy()).size > 50
    assert x.array is memory and x.type.layout is layout
    with pytest.raises(LayoutError, match="add: expected inputs of one layout"):
        x.add_(plain)


WRITES = [
    ((2, 2, 2, 2), (2, 2, 2, 2), ...),
    ((2, 2, 2, 2), (2, 2, 2, 2), slice(None)),
    ((1, 4, 1, 1), (1, 4, 2, 4), ...),  # as they lie, these would broadcast along W
    ((2, 2, 2, 2), (2, 4, 2, 2), (slice(None), slice(1, 3))),
    (SHAPE, (3, *SHAPE), 1),
    ((1, 2, 2, 2), (3, 2, 2, 2), [2]),
]


@pytest.mark.parametrize("is_recorded", [False, True], ids=["plainly", "recorded"])
@pytest.mark.parametrize("wrap", [lambda write: write, dt.trace], ids=["eager", "traced"])
@pytest.mark.parametrize("layout", LAID_OUT, ids=str)
def test_an_index_writes_laid_out_values_in_the_order_of_the_axes(layout: Layout, wrap, is_recorded: bool) -> None:
    for shape, target, index in WRITES:
        values = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)
        given = laid_out(values, layout).requires_grad_(is_recorded)

        def write(x, given, index=index):
            x[index] = given
            return x * 1

        x, right = dt.zeros(target), np.zeros(target, np.float32)
        right[index] = values
        np.testing.assert_array_equal(wrap(write)(x, given).numpy(), right)
        np.testing.assert_array_equal(x.numpy(), right)


def test_what_lies_in_padding_lanes_reaches_no_sum() -> None:
    """e⁰ is 1 and 1/0 is ∞ there: no reduction takes such a tensor, and what leaves the layout leaves them behind."""
    x = dt.full(SHAPE, 2.0).relayout("NCHW16c")
    assert not padding(x).any()
    y = 1 / (x - 2 * F.sign(x)) + F.exp(x)
    assert not np.isfinite(padding(y)).all()
    x = F.exp(x - 2)
    assert padding(x).all()
    with pytest.raises(LayoutError, match=r"sum: expected tensors in the plain layout"):
        x.sum()
    assert x.relayout("NCHW").sum().item() == np.prod(SHAPE)
    assert not padding(x.relayout("NHWC").relayout("NCHW16c")).any()


def test_kernels_that_name_layouts_and_ops_that_have_rules_are_the_same() -> None:
    with_rule = {op.name for op in all_ops() if op.name in LAYOUT_RULES}
    assert {kernel.op for kernel in all_kernels() if kernel.layouts} == with_rule
    taken = {name: LAYOUT_RULES.of(name).layouts for name in with_rule}
    assert all(reference_of(name).layouts == layouts != () for name, layouts in taken.items())
    assert all(set(kernel.layouts) <= set(taken.get(kernel.op, ())) for kernel in all_kernels())


def test_a_kernel_may_name_some_of_the_layouts_that_its_op_takes() -> None:
    """The compiled relayout moves blocks of channels; the reference moves NHWC too."""
    compiled = [kernel for kernel in COMPILED if kernel.op == "relayout" and "_f32_" in kernel.name]
    for layout in LAID_OUT:
        laid, plain = (tensor_type(SHAPE, dt.float32, each) for each in (layout, PLAIN))
        problem = Problem("relayout", [laid], [plain], {"source": layout, "layout": PLAIN})
        for kernel in compiled:
            assert kernel.why_not(problem) == (None if layout.is_blocked else "names no layout NHWC")
        fitting = compiled if layout.is_blocked else []
        assert candidates(problem) == [*fitting, reference_of("relayout")]


def test_a_rule_may_take_one_layout() -> None:
    op = Op(name="test_in_16_lanes", infer=lambda x: x, dtypes=(dt.float32,))
    LAYOUT_RULES.register(op, LayoutRule(lane_by_lane, (NCHW16C,)))
    plain = tensor_type(SHAPE, dt.float32)
    laid = plain.with_(layout=NCHW16C)
    assert infer_types(op, [laid], {}) == (laid,) and infer_types(op, [plain], {}) == (plain,)
    said = r"test_in_16_lanes: expected tensors in the plain layout or NCHW16c, got .*NHWC.*write x.relayout\('NCHW'\)"
    with pytest.raises(LayoutError, match=said):
        infer_types(op, [plain.with_(layout=NHWC)], {})


def test_a_kernel_that_names_no_layout_never_gets_one() -> None:
    plain = tensor_type(SHAPE, dt.float32)
    other = plain.with_(layout=NCHW16C)
    for kernel in all_kernels():
        if not kernel.layouts:
            for inputs in ([other], [plain, other], [plain, plain, other]):
                said = kernel.why_not(Problem(kernel.op, inputs, [other]))
                assert said == "names no layout NCHW16c", kernel.name
    (first, *_) = candidates(Problem("relu", [plain], [plain]))
    assert first.usable(Problem("relu", [other], [other]))


def test_a_layout_that_no_kernel_names(monkeypatch) -> None:
    bare = Candidate(op="exp", name="bare", isa="reference", function=reference_of("exp").function)
    monkeypatch.setitem(registry._KERNELS, "exp", [bare])
    type = tensor_type(SHAPE, dt.float32, NCHW16C)
    said = r"^exp: expected a layout that one of its kernels names \(bare\), got .*NCHW16c.*write x.relayout\('NCHW'\)"
    with pytest.raises(LayoutError, match=said):
        choose(Problem("exp", [type], [type]))
    plain = type.with_(layout=PLAIN)
    assert choose(Problem("exp", [plain], [plain])) is bare
