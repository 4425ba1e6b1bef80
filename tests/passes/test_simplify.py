"""Every rule of `simplify` applies where it should, and changes no bit: of any 16-bit number, and of special ones."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
from dtrain.base.dtype import ALL, INTEGERS, NUMBERS, DType
from dtrain.core.tensor import wrap
from dtrain.graph.constant import CONSTANT
from dtrain.graph.printer import parse_graph
from dtrain.passes.simplify import RULES, simplify

# For each rule a piece of text, of which `%1` is what the rule turns into x, and the dtypes that it holds for.
# {0} is the dtype, {1} how many elements x has, {2} and {3} a constant 0 and 1.
SIGNED = tuple(dtype for dtype in NUMBERS if dtype.tag != "u8")
EXAMPLES: dict[str, tuple[str, tuple[DType, ...]]] = {
    "neg_of_neg": ("%0: {0}[{1}]@cpu = neg(%x)\n  %1: {0}[{1}]@cpu = neg(%0)", SIGNED),
    "cast_to_same": ("%1: {0}[{1}]@cpu = cast(%x){{dtype=dtype({0})}}", ALL),
    "reshape_to_same": ("%1: {0}[{1}]@cpu = reshape(%x){{shape=({1},)}}", ALL),
    "times_one": ("%0: {0}[]@cpu = {3}\n  %1: {0}[{1}]@cpu = mul(%x, %0)", INTEGERS),
    "plus_zero": ("%0: {0}[]@cpu = {2}\n  %1: {0}[{1}]@cpu = add(%x, %0)", INTEGERS),
}


def every_pattern(dtype: DType) -> np.ndarray:
    """All numbers of 8 and 16 bits; of wider ones those with every exponent, sign, and few bits, NaNs among them."""
    if dtype.tag == "bool":
        return np.array([False, True])
    width = 8 * dtype.numpy.itemsize
    if width <= 16:
        return np.arange(1 << width, dtype=f"u{width // 8}").view(dtype.numpy)
    high = np.arange(1 << 16, dtype=f"u{width // 8}") << (width - 16)
    return np.concatenate([high | low for low in (0, 1, (1 << (width - 16)) - 1)]).view(dtype.numpy)


def constant(dtype: DType, number: int) -> str:
    return f"constant(){{value=array({dtype.tag}[] {np.asarray(number, dtype.numpy).tobytes().hex()})}}"


def examples() -> list[tuple[str, str, DType]]:
    return [(name, text, dtype) for name, (text, dtypes) in EXAMPLES.items() for dtype in dtypes]


def test_every_rule_has_an_example() -> None:
    assert {rule.name for rule in RULES} == set(EXAMPLES)
    assert all(rule.reason for rule in RULES)


@pytest.mark.parametrize(("name", "text", "dtype"), examples(), ids=lambda item: getattr(item, "tag", str(item)[:24]))
def test_no_rule_changes_a_bit(name: str, text: str, dtype: DType) -> None:
    x = every_pattern(dtype)
    piece = text.format(dtype.tag, x.size, constant(dtype, 0), constant(dtype, 1))
    graph = parse_graph(f"graph g(%x: {dtype.tag}[{x.size}]@cpu; ) {{\n  {piece}\n  return %1\n}}")
    (computed,) = evaluate(graph, x)
    assert computed.tobytes() == x.tobytes()
    simplify(graph)
    assert graph.outputs == graph.arguments
    assert [change.reason.split(":")[0] for change in graph.changes] == [name]


def evaluate(graph, x: np.ndarray) -> list[np.ndarray]:
    from dtrain.runtime.dispatch import dispatch

    arrays = {graph.arguments[0]: x}
    for node in graph.nodes:
        if node.op is CONSTANT:
            arrays[node.outputs[0]] = node.attrs["value"]
            continue
        types = tuple(value.type for value in node.inputs)
        computed = dispatch(node.op, types, node.attrs).run([arrays[value] for value in node.inputs], node.attrs)
        arrays.update(zip(node.outputs, computed))
    return [arrays[value] for value in graph.outputs]


def test_a_traced_function_gives_what_eager_execution_gives() -> None:
    def function(x: dt.Tensor) -> dt.Tensor:
        return (-x).neg(), (-x).neg().reshape(x.shape) + 1.0

    x = wrap(np.float32([0.0, -0.0, np.nan, np.inf, 1e-45]))
    traced = dt.trace(function)
    for one, other in zip(traced(x), function(x)):
        assert one.numpy().tobytes() == other.numpy().tobytes()
        assert one.array is not x.array
    assert [node.op.name for node in traced.graphs[0].nodes] == ["constant", "add"]
