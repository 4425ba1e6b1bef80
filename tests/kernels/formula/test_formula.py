"""Formulas: derivatives against differences, what simplifying makes of them, and what is written down from a row."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from dtrain.kernels import kernels_of, reference_of
from dtrain.kernels.cpu_kernels import compiled_rows
from dtrain.kernels.formula import cpp_text
from dtrain.kernels.formula.derivative import derivative, scaled
from dtrain.kernels.formula.expression import Apply, Parameter, apply, clip, maximum, minimum, parts, where
from dtrain.kernels.formula.functions import DERIVATIVES
from dtrain.kernels.formula.kernel import Kernel
from dtrain.kernels.formula.row import GRAD, Row, X, Y
from dtrain.kernels.formula.simplify import simplified
from dtrain.kernels.formula.table import KERNELS, ROWS, attributes_of
from dtrain.kernels.formula.vectors import NotInVectors, body_of, is_compiled
from dtrain.kernels.reference.formulas import function_of, text_of

WRITE = Path(__file__).parents[3] / "kernels/formula/write_cpp.py"
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-310, -1e-310, 1e300, -1e300])


def values_of(formula, x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    with np.errstate(all="ignore"):
        function_of(Kernel("f", (X,), formula))(x, out)
    return out


ONE_SIDE = [-5.1, -2.3, -0.7, 0.4, 1.9, 2.8, 4.4, 6.5]  # nowhere near a kink
FORMULAS = [
    X * clip(X + 3, 0, 6) / 6,
    X / (1 + apply("abs", X)),
    apply("sigmoid", X * 2 - 1) * apply("tanh", X),
    -apply("softplus", 3 - X) / (1 + X * X),
    where(X > 0, X, apply("expm1_non_positive", X)),
    maximum(X, 1) * minimum(2 - X, 3) - X,
    (X + 1) / (X * X + 2) / 3,
    clip(X * apply("sigmoid", X), -1, 2) * X,
]


@pytest.mark.parametrize("formula", FORMULAS, ids=str)
def test_derivatives_are_the_slopes_of_differences(formula) -> None:
    x, step = np.array(ONE_SIDE), 1e-5
    slope = (values_of(formula, x + step) - values_of(formula, x - step)) / (2 * step)
    np.testing.assert_allclose(values_of(derivative(formula, X) + 0 * X, x), slope, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("formula", FORMULAS, ids=str)
def test_simplifying_changes_no_value_and_makes_nothing_longer(formula) -> None:
    short = simplified(formula)
    np.testing.assert_allclose(values_of(short, np.array(ONE_SIDE)), values_of(formula, np.array(ONE_SIDE)), rtol=1e-14)
    assert sum(isinstance(part, Apply) for part in parts(short)) <= sum(
        isinstance(part, Apply) for part in parts(formula)
    )


def test_every_function_has_a_derivative_that_holds() -> None:
    x, step = np.array(ONE_SIDE), 1e-5
    for name in DERIVATIVES:
        if name in ("erf", "detach"):  # no function of the array module; tests/ops has their gradients
            continue
        inner = X * 0.05 + (1.6 if name == "acosh" else 0.4)  # where all of them have a slope
        formula = apply(name, where(X < 0, X, X * 0 - 1) if name.endswith("non_positive") else inner)
        slope = (values_of(formula, x + step) - values_of(formula, x - step)) / (2 * step)
        np.testing.assert_allclose(
            values_of(derivative(formula, X) + 0 * X, x), slope, rtol=1e-7, atol=1e-9, err_msg=name
        )


@pytest.mark.parametrize(
    "given, wanted",
    [
        (apply("sigmoid", X), "mul(sigmoid(x), sub(1, sigmoid(x)))"),
        (X * apply("sigmoid", X), "mul(sigmoid(x), add(1, mul(x, sub(1, sigmoid(x)))))"),
        (X / (1 + apply("abs", X)), "div(1, mul(add(1, abs(x)), add(1, abs(x))))"),
        (X * X - 2 * X, "sub(mul(2, x), 2)"),
        (-(X / 4), "neg(div(1, 4))"),
        (clip(X, 0, 6) / 6, "where(greater(x, 0), where(greater(6, x), div(1, 6), 0), 0)"),
        (maximum(X * Parameter("a"), 0), "where(greater(mul(x, a), 0), a, 0)"),
    ],
    ids=str,
)
def test_derivatives_read_as_one_would_write_them(given, wanted: str) -> None:
    assert str(derivative(given, X)) == wanted


def test_gradients_that_are_flat_are_0_whatever_comes_in_and_show_nan() -> None:
    gradient = function_of(Kernel("f", (GRAD, X), scaled(GRAD, derivative(clip(X, 0, 6), X), X)))
    out = np.empty(6)
    gradient(
        np.array([np.inf, -2.0, np.nan, 3.0, np.inf, 5.0]), np.array([-1.0, 7.0, -np.inf, 2.0, np.inf, np.nan]), out
    )
    np.testing.assert_array_equal(out, [0, 0, 0, 3, 0, np.nan])
    assert not np.signbit(out[1])


OF_ONE_INPUT = [row for row in ROWS if not row.is_binary and row.backward_ops]


@pytest.mark.parametrize("row", OF_ONE_INPUT, ids=lambda row: row.name)
class TestRows:
    def test_slopes_by_output_are_those_by_input(self, row: Row) -> None:
        low, high = row.domain
        x = np.array(ONE_SIDE) if low == -4 else np.linspace(low, high, 9)
        for number in range(max(map(len, row.parameters.values()), default=1)):
            attrs = {name: given[number] for name, given in row.parameters.items()}
            y, slope, wanted = np.empty_like(x), np.empty_like(x), np.empty_like(x)
            function_of(Kernel("f", (X,), row.formula))(x, y, **attrs)
            saved = x if row.saved == X else y
            backward = reference_of(f"{row.name}_backward").function
            backward(np.ones_like(x), saved, out=slope, **attrs)
            by_input = scaled(GRAD, derivative(row.formula, X), X)
            function_of(Kernel("f", (GRAD, X), by_input))(np.ones_like(x), x, wanted, **attrs)
            np.testing.assert_allclose(slope, wanted, rtol=1e-12, atol=1e-15)

    def test_nan_stays_visible(self, row: Row) -> None:
        attrs = {name: given[0] for name, given in row.parameters.items()}
        for kernel in row.kernels:
            arrays = [np.full(2, sum(row.domain) / 2 + 0.1) for _ in kernel.inputs]
            arrays[-1][1] = np.nan
            out = np.empty(2)
            reference_of(kernel.name).function(*arrays, out=out, **attrs)
            assert np.isfinite(out[0]) and np.isnan(out[1])


def test_what_is_compiled_is_what_vectors_know() -> None:
    listed = {row.op for row in compiled_rows()}
    if not listed:
        pytest.skip("the compiled module is not built")
    names = {kernel.name for kernel in KERNELS}
    assert listed & names == {kernel.name for kernel in KERNELS if is_compiled(kernel)}
    assert {"hswish", "hswish_backward", "hsigmoid", "tanh_backward", "elu", "softplus_backward"} <= listed


@pytest.mark.parametrize(
    "kernel", [kernel for kernel in KERNELS if is_compiled(kernel)], ids=lambda kernel: kernel.name
)
def test_compiled_kernels_do_at_extremes_what_references_do(kernel: Kernel) -> None:
    """Infinities, zeros of both signs, subnormals and NaN, against every one of them as a gradient."""
    functions = {part.function for part in parts(kernel.formula) if isinstance(part, Apply)}
    exact = functions.isdisjoint(("sigmoid", "softplus", "expm1_non_positive", "exp_non_positive"))
    arrays = [each.ravel().copy() for each in np.meshgrid(*[SPECIAL] * len(kernel.inputs))]
    compiled = [
        candidate for candidate in kernels_of(kernel.name) if "_f64_" in candidate.name and candidate.is_supported
    ]
    for candidate, attrs in product(compiled, attributes_of(kernel)):
        got, wanted = np.empty_like(arrays[0]), np.empty_like(arrays[0])
        with np.errstate(all="ignore"):
            candidate.function(*arrays, out=got, **attrs)
            reference_of(kernel.name).function(*arrays, out=wanted, **attrs)
        np.testing.assert_allclose(got, wanted, rtol=0 if exact else 1e-14, err_msg=candidate.name)


def test_what_vectors_do_not_know_is_not_written_down() -> None:
    for formula in (apply("tanh", X * 2), apply("pow", X, Parameter("a")), where(apply("equal", X, 0), X, 1)):
        with pytest.raises(NotInVectors):
            body_of(Kernel("f", (X,), formula))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_of_vectors_are_as_exact_as_the_library(dtype: type) -> None:
    """ELU with slope 1 is eˣ − 1, softplus is log(1 + eˣ): over the range where they say anything, on every instruction
    set, within a few roundings of what f64 gives."""
    x = np.concatenate([-np.geomspace(1e-30, 100, 4001), np.linspace(-1, 1, 4001), np.geomspace(1e-30, 80, 999)])
    x = x.astype(dtype)
    wide = x.astype(np.float64)
    wanted = {
        ("elu", "alpha"): np.where(wide > 0, wide, np.expm1(np.minimum(wide, 0))),
        ("softplus", "beta"): np.maximum(wide, 0) + np.log1p(np.exp(-np.abs(wide))),
    }
    tag = "_f32_" if dtype is np.float32 else "_f64_"
    for (op, parameter), right in wanted.items():
        for candidate in kernels_of(op):
            if tag in candidate.name and candidate.is_supported:
                out = np.empty_like(x)
                candidate.function(x, out=out, **{parameter: 1.0})
                tiny = np.abs(right) < np.finfo(np.float32).tiny
                np.testing.assert_allclose(
                    out[~tiny], right[~tiny], rtol=4 * np.finfo(dtype).eps, err_msg=candidate.name
                )
                assert np.all(np.abs(out[tiny]) < np.finfo(np.float32).tiny * 2), candidate.name


def test_parts_that_are_read_twice_are_computed_once() -> None:
    (backward,) = (kernel for kernel in KERNELS if kernel.name == "silu_backward")
    assert body_of(backward) == [
        "const V part0 = sigmoid_of(x);",
        "return (grad * (part0 * (V(T(1)) + (x * (V(T(1)) - part0)))));",
    ]
    assert text_of(backward).count("sigmoid_of(xp, x)") == 1


def test_builds_write_the_same_without_numpy_and_leave_what_is_unchanged(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-I", str(WRITE), str(tmp_path)]
    subprocess.run(command, check=True, timeout=60)
    texts = {
        "kernels.inc": cpp_text.list_text(),
        "contracts.h": cpp_text.contract_text(),
        "formulas.h": cpp_text.kernel_text(),
    }
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == texts
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    subprocess.run(command, check=True, timeout=60)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_row_says_where_its_output_says_enough() -> None:
    names = "sqrt rsqrt reciprocal exp expm1 tan tanh relu relu6 sigmoid hsigmoid"
    assert [row.name for row in ROWS if not row.is_binary and row.saved == Y] == names.split()
