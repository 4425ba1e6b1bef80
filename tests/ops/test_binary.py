"""Arithmetic of two inputs: NumPy's values, promotion, Python numbers, errors."""

from __future__ import annotations

import operator

import numpy as np
import pytest

import dtrain.functional as F
from dtrain.capture.trace import trace
from dtrain.core.tensor_factory import tensor

X = np.array([[-1.5, -0.25, 0.0], [0.5, 1.0, 3.75]])
Y = np.array([2.0, -0.5, 4.0])

# Public name -> what NumPy calls it.
PAIRS = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "floor_div": np.floor_divide,
    "mod": np.mod, "maximum": np.maximum, "minimum": np.minimum, "atan2": np.arctan2,
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_binary_functions_are_numpys(name):
    np.testing.assert_array_equal(getattr(F, name)(tensor(X), tensor(Y)).numpy(), PAIRS[name](X, Y))


@pytest.mark.parametrize("symbol", ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow"])
def test_operators_work_from_both_sides(symbol):
    function = getattr(operator, symbol)
    positive = np.abs(X) + 1
    np.testing.assert_array_equal(function(tensor(positive), 3.0).numpy(), function(positive, 3.0))
    np.testing.assert_array_equal(function(3.0, tensor(positive)).numpy(), function(3.0, positive))


def test_python_numbers_never_widen():
    short = tensor([1.0, 2.0], dtype="f16")
    assert (short * 2.5).dtype.tag == "f16"
    assert (tensor([1, 2], dtype="u8") + 1).dtype.tag == "u8"
    assert (tensor([1, 2], dtype="s32") + 1.5).dtype.tag == "f32"
    assert (tensor([True, False]) + 1).dtype.tag == "s64"


def test_integers_divide_as_floats():
    for tag in ("u8", "s16", "s32", "s64", "bool"):
        quotient = F.div(tensor([0, 1], dtype=tag), tensor([1, 1], dtype=tag))
        assert quotient.dtype.tag == "f32"
    assert F.div(tensor([7], dtype="s64"), 2).tolist() == [3.5]
    assert F.div(7, tensor([2], dtype="s64")).tolist() == [3.5]
    assert (1 / tensor([2], dtype="s16")).dtype.tag == "f32" and (tensor([2], dtype="s16") / 2).dtype.tag == "f32"
    assert F.div(1, 2).item() == 0.5
    assert (tensor([7], dtype="s64") // 2).tolist() == [3]
    assert F.sqrt(tensor([4], dtype="s64")).dtype.tag == "f32"


def test_shapes_that_do_not_broadcast():
    with pytest.raises(ValueError, match=r"add: expected shapes that broadcast, got \(2, 3\) and \(4,\); reshape"):
        tensor(X) + tensor([1.0, 2.0, 3.0, 4.0])


def test_pow_at_its_corners():
    x = tensor([0.0, 0.0, 2.0, -3.0], dtype="f64", requires_grad=True)
    y = tensor([0.0, 2.5, 3.0, 2.0], dtype="f64", requires_grad=True)
    with np.errstate(invalid="ignore"):
        z = F.pow(x, y)
        z.sum().backward()
    np.testing.assert_array_equal(z.numpy(), [1.0, 0.0, 8.0, 9.0])
    np.testing.assert_allclose(x.grad.numpy(), [0.0, 0.0, 12.0, -6.0])
    np.testing.assert_allclose(y.grad.numpy()[:3], [0.0, 0.0, 8 * np.log(2)])


def test_equal_elements_share_the_gradient_of_maximum():
    x, y = tensor([1.0, 2.0, 3.0], requires_grad=True), tensor([2.0, 2.0, 2.0], requires_grad=True)
    F.maximum(x, y).sum().backward()
    assert x.grad.tolist() == [0.0, 0.5, 1.0]
    assert y.grad.tolist() == [1.0, 0.5, 0.0]


def test_maximum_passes_nan_on():
    assert np.isnan(F.maximum(tensor([np.nan, 1.0]), tensor([1.0, np.nan])).numpy()).all()


def test_integer_powers_quotients_and_remainders():
    x, y = tensor([7, -7, 2], dtype="s32"), tensor([2, 2, 3], dtype="s32")
    assert (x // y).tolist() == [3, -4, 0] and (x % y).tolist() == [1, 1, 2]
    assert F.pow(x, y).tolist() == [49, 49, 8] and (x**2).dtype.tag == "s32"


def test_gradient_of_a_broadcast_input_is_summed():
    x, y = tensor(X, requires_grad=True), tensor(Y, requires_grad=True)
    (x * y).sum().backward()
    np.testing.assert_array_equal(y.grad.numpy(), X.sum(axis=0))
    np.testing.assert_array_equal(x.grad.numpy(), np.broadcast_to(Y, X.shape))


def test_the_gradient_of_mod_takes_the_quotient_of_its_value():
    """6.0 / 0.1 rounds to 60, of which the value knows nothing: 6.0 mod 0.1 is just below 0.1."""
    for first, second in ((6.0, 0.1), (-6.0, 0.1), (1.0, 0.1), (0.3, -0.1), (5.0, np.inf), (-5.0, np.inf)):
        x, y = tensor(np.array(first), requires_grad=True), tensor(np.array(second), requires_grad=True)
        F.mod(x, y).backward()
        assert x.grad.item() == 1.0
        assert y.grad.item() == -(first // second)


def test_floor_division_has_gradient_0():
    x, y = tensor([7.0, -7.0], requires_grad=True), tensor([2.0, 2.0], requires_grad=True)
    F.floor_div(x, y).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0] and y.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_nan_stays_visible_in_gradients_of_extrema(name):
    x = tensor([1.0, np.nan, 3.0, 2.0], requires_grad=True)
    y = tensor([np.nan, 2.0, 3.0, 5.0], requires_grad=True)
    getattr(F, name)(x, y).sum().backward()
    larger = [0.5, 0.0] if name == "maximum" else [0.5, 1.0]
    np.testing.assert_array_equal(x.grad.numpy(), [np.nan, np.nan, *larger])
    np.testing.assert_array_equal(y.grad.numpy(), [np.nan, np.nan, 0.5, 1 - larger[1]])


@pytest.mark.parametrize("tag", ["u8", "s8", "s64"])
def test_integers_that_have_no_quotient_or_power(tag):
    x, zero = tensor([1, 2], dtype=tag), tensor([1, 0], dtype=tag)
    for function in (F.floor_div, F.mod):
        for form in (function, trace(function)):
            with pytest.raises(ZeroDivisionError, match="expected integers divided by others than 0, got 0"):
                form(x, zero)
    if tag != "u8":
        with pytest.raises(ValueError, match="pow: expected integers to powers of at least 0, got -1"):
            F.pow(x, -1)
    assert np.isnan(F.mod(tensor([1.0]), 0.0).item()) and F.floor_div(tensor([1.0]), 0.0).item() == np.inf


def test_gradients_of_short_floats_do_not_overflow_on_the_way():
    """d(x/y)/dy = −x/y²: the quotient alone is no f16, and neither is x² + y² of the angle."""
    x, y = tensor([6e4], dtype="f16", requires_grad=True), tensor([0.5], dtype="f16", requires_grad=True)
    (x / y).backward(tensor([1e-3], dtype="f16"))
    np.testing.assert_allclose(y.grad.item(), -240, rtol=2e-3)
    x, y = tensor([300.0], dtype="f16", requires_grad=True), tensor([400.0], dtype="f16", requires_grad=True)
    F.atan2(x, y).sum().backward()
    np.testing.assert_allclose([x.grad.item(), y.grad.item()], [1.6e-3, -1.2e-3], rtol=2e-3)


@pytest.mark.parametrize("form", [lambda function: function, trace])
@pytest.mark.parametrize(
    ("x", "y", "slope"),
    [
        (0.0, -1.0, -np.inf),
        (0.0, -0.5, -np.inf),
        (0.0, np.nan, np.nan),
        (-0.0, np.nan, np.nan),
        (np.nan, 0.0, np.nan),
        (0.0, 0.0, 0.0),
        (0.0, 2.0, 0.0),
        (2.0, -1.0, np.log(2) / 2),
    ],
)
def test_the_gradient_of_an_exponent_shows_what_has_no_slope(form, x, y, slope):
    exponent = tensor([y], requires_grad=True, dtype="f64")
    form(lambda base: F.pow(base, exponent).sum().backward())(tensor([x], dtype="f64"))
    np.testing.assert_allclose(exponent.grad.numpy(), [slope], rtol=1e-12)


@pytest.mark.parametrize(
    ("y", "x"), [(1e-23, 1e-23), (0.0, 1e-30), (1e30, -1e30), (3e38, 1.0), (-3.0, 4.0), (0.0, -2.0)]
)
def test_angles_of_tiny_and_huge_points_have_slopes_in_range(y, x):
    """x² + y² alone is 0 or infinite in f32."""
    found = [tensor([number], requires_grad=True, dtype="f32") for number in (y, x)]
    F.atan2(*found).sum().backward()
    exact = [np.longdouble(np.float32(number)) for number in (y, x)]
    square = exact[0] ** 2 + exact[1] ** 2
    expected = [float(exact[1] / square), float(-exact[0] / square)]
    np.testing.assert_allclose([each.grad.item() for each in found], np.float32(expected), rtol=1e-6, atol=1e-44)


@pytest.mark.parametrize(("y", "x"), [(0.0, 0.0), (-0.0, 0.0), (0.0, -0.0)])
def test_the_angle_of_the_origin_has_slope_0(y, x):
    found = [tensor([number], requires_grad=True) for number in (y, x)]
    F.atan2(*found).sum().backward()
    assert [each.grad.item() for each in found] == [0, 0]
    lost = tensor([np.nan], requires_grad=True)
    F.atan2(lost, tensor([1.0])).sum().backward()
    assert np.isnan(lost.grad.item())


def test_powers_of_2_are_exact():
    exponents = np.arange(-149.0, 128.0, dtype=np.float32)
    assert np.array_equal(F.exp2(tensor(exponents)).numpy(), np.exp2(exponents.astype(np.float64)).astype(np.float32))
    assert F.exp2(tensor([3, 63, -1])).tolist() == [8, 2.0**63, 0.5]
    x = tensor([0.0, 1.0, -3.0], requires_grad=True)
    F.exp2(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.log(2) * np.array([1, 2, 0.125]), rtol=1e-6)
