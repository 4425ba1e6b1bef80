"""Static attributes as text and back: Python literals, dtypes, devices, layouts, types and constant arrays.

Arrays print as `array(f32[2], 0000803f00000040)`: type and bytes in hex, exact for every dtype.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from dtrain.base.device import Device, as_device
from dtrain.base.dtype import DType, as_dtype, from_numpy
from dtrain.base.errors import GraphError, expected
from dtrain.base.layout import Layout, as_layout
from dtrain.base.tensor_type import TensorType, parse_tensor_type

_SPECIAL = re.compile(r"(dtype|device|layout|type|array)\(([^)]*)\)")


def print_attr(value: Any) -> str:
    """One attribute as text. Raises GraphError for a type that cannot be read back."""
    if isinstance(value, DType):
        return f"dtype({value.tag})"
    if isinstance(value, Device):
        return f"device({value})"
    if isinstance(value, Layout):
        return f"layout({value})"
    if isinstance(value, TensorType):
        return f"type({value})"
    if isinstance(value, np.ndarray):
        shape = ",".join(map(str, value.shape))
        return f"array({from_numpy(value.dtype).tag}[{shape}] {np.ascontiguousarray(value).tobytes().hex()})"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(print_attr, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, float):
        # NumPy's f64 scalars are floats too, but their repr is not a literal.
        text = float.__repr__(value)
        return text if math.isfinite(value) else f"'{text}'::float"
    if value is None or type(value) in (bool, int, str):
        return repr(value)
    raise GraphError(
        expected("graph text", "an attribute of literals, dtypes, devices, layouts, types or arrays", repr(value))
    )


def parse_attr(text: str) -> Any:
    """Read back what `print_attr` wrote."""
    if match := re.fullmatch(r"'(inf|-inf|nan)'::float", text):
        return float(match[1])
    if match := _SPECIAL.fullmatch(text):
        return _parse_special(match[1], match[2])
    if text.startswith("(") and text.endswith(")"):
        return tuple(parse_attr(part) for part in split_top_level(text[1:-1]))
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise GraphError(expected("graph text", "a literal attribute", text)) from None


def _parse_special(kind: str, body: str) -> Any:
    if kind == "dtype":
        return as_dtype(body)
    if kind == "device":
        return as_device(body)
    if kind == "layout":
        return as_layout(body)
    if kind == "type":
        return parse_tensor_type(body)
    match = re.fullmatch(r"(\w+)\[([\d,]*)\] ?([0-9a-f]*)", body)
    if match is None:
        raise GraphError(expected("graph text", "array(dtype[shape] hex)", body))
    shape = tuple(int(size) for size in match[2].split(",") if size)
    try:
        return np.frombuffer(bytes.fromhex(match[3]), as_dtype(match[1]).numpy).reshape(shape)
    except ValueError:
        raise GraphError(expected("graph text", f"the bytes of {match[1]}[{match[2]}] in hex", match[3])) from None


def print_attrs(attrs: Mapping[str, Any]) -> str:
    """`{axis=1, keepdims=True}`, or nothing."""
    if not attrs:
        return ""
    return "{" + ", ".join(f"{key}={print_attr(value)}" for key, value in attrs.items()) + "}"


def parse_attrs(text: str) -> dict[str, Any]:
    """Read back the inside of the braces that `print_attrs` wrote."""
    attrs = {}
    for part in split_top_level(text):
        key, equals, value = part.partition("=")
        if not equals:
            raise GraphError(expected("graph text", "attributes such as axis=1", part))
        attrs[key.strip()] = parse_attr(value.strip())
    return attrs


_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^'"]""")


def split_top_level(text: str) -> list[str]:
    """Split at commas that stand outside brackets and quotes."""
    parts, depth, current = [], 0, ""
    for token in _QUOTED.findall(text):
        if token in "([{":
            depth += 1
        elif token in ")]}":
            depth -= 1
        if token == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += token
    if current.strip():
        parts.append(current.strip())
    return parts
