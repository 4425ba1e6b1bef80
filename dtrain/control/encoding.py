"""Records as JSON and back: frozen dataclasses, checked field by field against their annotations.

What comes over a connection may be anything, so nothing is converted: a field that is missing, unknown or of another
type is a `MessageError` that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from dtrain.base.errors import expected
from dtrain.base.exception_text import shortened

MAX_SHOWN = 80  # characters of a value in an error


class MessageError(ValueError):
    """Bytes that are no message of ours; the text says what was expected."""


def to_fields(record: Any) -> dict[str, Any]:
    """A record as a mapping that JSON can take; a field of bytes is left out, as it travels behind the line."""
    return {
        field.name: to_fields(value) if is_dataclass(value) else value
        for field in fields(record)
        if not isinstance(value := getattr(record, field.name), bytes)
    }


def from_fields(
    made: Any, given: Mapping[str, Any], where: str, *, payload: Mapping[str, bytes] = MappingProxyType({})
) -> Any:
    """A record of the dataclass `made`. Raises `MessageError` for a field that is missing, unknown or of another type.

    `payload` is the field of bytes, which did not come with the others.
    """
    known = {name: kind for name, kind in _fields_of(made).items() if name not in payload}
    if unknown := [name for name in given if name not in known]:
        raise MessageError(expected(where, f"no field but {', '.join(known) or 'none'}", shown(unknown[0])))
    values: dict[str, Any] = dict(payload)
    for name, (annotation, is_needed) in known.items():
        if name in given:
            values[name] = _checked(annotation, given[name], f"{where}, {name}")
        elif is_needed:
            raise MessageError(expected(where, f"the field {name}", "none"))
    return made(**values)


def shown(value: object) -> str:
    """A value in an error, shortened."""
    return shortened(repr(value), MAX_SHOWN)


def payload_field(made: Any) -> str:
    """The name of the field of bytes, or ""."""
    return next((name for name, (annotation, _) in _fields_of(made).items() if annotation is bytes), "")


@cache
def _fields_of(made: Any) -> dict[str, tuple[Any, bool]]:
    """Of each field its type, and whether it must be given."""
    hints = get_type_hints(made)
    return {
        field.name: (hints[field.name], field.default is MISSING and field.default_factory is MISSING)
        for field in fields(made)
    }


def _checked(annotation: Any, value: Any, where: str) -> Any:
    """`value` as the annotation has it: JSON's lists become tuples, its objects records."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return _checked_choice(get_args(annotation), value, where)
    if origin is Literal:
        if value in get_args(annotation) and type(value) is str:
            return value
        raise MessageError(expected(where, f"one of {', '.join(get_args(annotation))}", shown(value)))
    if origin is tuple:
        if not isinstance(value, list):
            raise MessageError(expected(where, "a list", shown(value)))
        return tuple(_checked(get_args(annotation)[0], one, where) for one in value)
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise MessageError(expected(where, "names with values", shown(value)))
        return {name: _checked(get_args(annotation)[1], one, f"{where}, {name}") for name, one in value.items()}
    if is_dataclass(annotation):
        if not isinstance(value, dict):
            raise MessageError(expected(where, "names with values", shown(value)))
        return from_fields(annotation, value, where)
    # A bool is an int to Python and a whole number may stand for a float; nothing else passes for another.
    if type(value) is annotation or (annotation is float and type(value) is int):
        return value
    raise MessageError(expected(where, _TYPES[annotation], shown(value)))


def _checked_choice(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    """One of several types: the first that takes it."""
    if value is None and NoneType in choices:
        return None
    inner = [choice for choice in choices if choice is not NoneType]
    for choice in inner[:-1]:
        with suppress(MessageError):
            return _checked(choice, value, where)
    return _checked(inner[-1], value, where)


_TYPES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", bytes: "bytes"}
