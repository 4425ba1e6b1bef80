"""Static attributes as text and back: Python literals, dtypes, devices and constant arrays.

Arrays print as `array(f32[2], 0000803f00000040)`: type and bytes in hex, exact for every dtype.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from dtrain.base.device import Device, as_device
from dtrain.base.dtype import DType, as_dtype, from_numpy
from dtrain.base.errors import GraphError, expected

_SPECIAL = re.compile(r"(dtype|device|array)\(([^)]*)\)")


def print_attr(value: Any) -> str:
    """One attribute as text. Raises GraphError for a type that cannot be read back."""
    if isinstance(value, DType):
        return f"dtype({value.tag})"
    if isinstance(value, Device):
        return f"device({value})"
    if isinstance(value, np.ndarray):
        shape = ",".join(map(str, value.shape))
        return f"array({from_numpy(value.dtype).tag}[{shape}] {np.ascontiguousarray(value).tobytes().hex()})"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(print_attr, value)) + ("," if len(value) == 1 else "") + ")"
    if value is None or isinstance(value, bool | int | float | str):
        return _print_float(value) if isinstance(value, float) else repr(value)
    raise GraphError(expected("graph text", "an attribute of literals, dtypes, devices or arrays", repr(value)))


def _print_float(value: float) -> str:
    return repr(value) if value - value == 0.0 else f"'{value}'::float"


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
    match = re.fullmatch(r"(\w+)\[([\d,]*)\] ?([0-9a-f]*)", body)
    if match is None:
        raise GraphError(expected("graph text", "array(dtype[shape] hex)", body))
    shape = tuple(int(size) for size in match[2].split(",") if size)
    return np.frombuffer(bytes.fromhex(match[3]), as_dtype(match[1]).numpy).reshape(shape)


def print_attrs(attrs: Mapping[str, Any]) -> str:
    """`{axis=1, keepdims=True}`, or nothing."""
    if not attrs:
        return ""
    return "{" + ", ".join(f"{key}={print_attr(value)}" for key, value in attrs.items()) + "}"


def parse_attrs(text: str) -> dict[str, Any]:
    """Read back the inside of the braces that `print_attrs` wrote."""
    pairs = (part.split("=", 1) for part in split_top_level(text))
    return {key.strip(): parse_attr(value.strip()) for key, value in pairs}


def split_top_level(text: str) -> list[str]:
    """Split at commas that stand outside brackets and quotes."""
    parts, depth, quote, current = [], 0, "", ""
    for position, char in enumerate(text):
        if quote:
            escaped = text[position - 1] == "\\"
            quote = "" if char == quote and not escaped else quote
        elif char in "'\"":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        if char == "," and depth == 0 and not quote:
            parts.append(current.strip())
            current = ""
        else:
            current += char
    if current.strip():
        parts.append(current.strip())
    return parts
