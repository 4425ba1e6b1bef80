"""Read a problem as a line of text: `conv2d f32[8,64,56,56] f32[64,64,3,3] stride=1,1 padding=1,1`.

It is what `str(problem)` prints, but for the outputs, which the op infers; a type without `@` lies on the CPU.
"""

from __future__ import annotations

import inspect
import re
from ast import literal_eval
from difflib import get_close_matches
from typing import Any

from dtrain.base.device import as_device
from dtrain.base.dtype import as_dtype
from dtrain.base.errors import DtrainError, GraphError, ShapeError, expected
from dtrain.base.layout import as_layout
from dtrain.base.tensor_type import parse_tensor_type
from dtrain.graph.calls import calls_of
from dtrain.graph.constant import CONSTANT
from dtrain.graph.inference import expect_rules, infer_types
from dtrain.graph.op import Op, all_ops, get_op
from dtrain.kernels.problem import Problem, attribute_text

# Blanks part words, except within quotes.
_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|\S)+""")


def parse_problem(text: str) -> Problem:
    """The problem that `text` says.

    Raises:
        GraphError: an unknown op, a word that is neither type nor attribute, or attributes that the op lacks.
        ShapeError, DtypeError, LayoutError: inputs that the op does not take.
    """
    name, *words = _WORD.findall(text.partition("->")[0]) or [""]
    op = _op(name)
    inputs = [parse_tensor_type(word if "@" in word else f"{word}@cpu") for word in words if "=" not in word]
    given = [_attribute(word) for word in words if "=" in word]
    attrs = dict(given)
    if len(attrs) < len(given):
        raise GraphError(expected(name, "each attribute once", " ".join(word for word in words if "=" in word)))
    _expect_attributes(op, attrs)
    expect_rules(name, inputs)
    _expect_kinds(op, attrs)
    try:
        outputs = infer_types(op, inputs, attrs)
    except DtrainError:
        raise
    except (TypeError, ValueError, IndexError) as error:  # too many inputs, or too few; an attribute of another form
        raise GraphError(expected(name, "the inputs of the op, and its attributes", str(error), _example(op))) from None
    if any(size < 0 for type in outputs for size in type.shape):
        wanted, made = "attributes that give sizes of at least 0", ", ".join(map(str, outputs))
        raise ShapeError(expected(name, wanted, made, _example(op)))
    return Problem(name, inputs, outputs, attrs)


def _op(name: str) -> Op:
    known = [op.name for op in all_ops()]
    if name not in known:
        near = ", ".join(get_close_matches(name, known)) or "no similar name"
        raise GraphError(expected("problem", "the name of an op first", repr(name), f"names like it: {near}"))
    op = get_op(name)
    if op.view is not None or op is CONSTANT:
        raise GraphError(expected("problem", "an op that a kernel computes", f"{name}, which shows memory as it is"))
    return op


def _attribute(word: str) -> tuple[str, Any]:
    name, _, text = word.partition("=")
    if name == "dtype":
        return name, as_dtype(text)
    if name == "device":
        return name, as_device(text)
    if name in ("layout", "source"):
        return name, as_layout(text)
    try:
        return name, literal_eval(text)  # `1,1` is a tuple as well
    except (ValueError, SyntaxError):
        return name, text


def _expect_attributes(op: Op, attrs: dict[str, Any]) -> None:
    parameters = inspect.signature(op.infer).parameters.values()
    keywords = {one.name: one for one in parameters if one.kind is one.KEYWORD_ONLY}
    missing = [name for name, one in keywords.items() if one.default is one.empty and name not in attrs]
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
    unknown = [] if takes_any else [name for name in attrs if name not in keywords]
    if missing or unknown:
        given = ", ".join(attrs) or "none"
        raise GraphError(expected(op.name, f"the attributes {', '.join(keywords) or 'none'}", given, _example(op)))


def _expect_kinds(op: Op, attrs: dict[str, Any]) -> None:
    """An attribute is a number, a word, … where it is one in a call of the op; inference sees what it reads only."""
    for name, value in attrs.items():
        kinds = [_kind(call.attrs[name]) for call in calls_of(op) if name in call.attrs]
        if kinds and _kind(value) not in kinds:
            wanted = f"{' or '.join(dict.fromkeys(kinds))} for {name}"
            raise GraphError(expected(op.name, wanted, attribute_text(value), _example(op)))


def _kind(value: Any) -> str:
    for types, words in ((bool, "True or False"), ((int, float), "a number"), (str, "a word"), (tuple, "a tuple")):
        if isinstance(value, types):
            return words
    return "None" if value is None else type(value).__name__


def _example(op: Op) -> str:
    """The op's first call as advice."""
    if not calls_of(op):
        return ""
    call = calls_of(op)[0]
    shapes = [getattr(given, "shape", given) for given in call.inputs]
    dtypes = [as_dtype(given.dtype).tag if hasattr(given, "dtype") else "f32" for given in call.inputs]
    inputs = [f"{tag}[{','.join(map(str, shape))}]" for tag, shape in zip(dtypes, shapes)]
    attrs = [f"{name}={attribute_text(value)}" for name, value in call.attrs.items()]
    return f'for example "{" ".join([op.name, *inputs, *attrs])}"'
