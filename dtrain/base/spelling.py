"""Keywords in other frameworks' spelling: `dim` for `axis`, `keepdim` for `keepdims`, `T_max` for `num_steps` …

One mechanism for all public functions and constructors. `spelled(function)` takes every keyword of the function, the
ones that `keywords.KEYWORDS` translates into one of them, those that `WITHOUT_EFFECT` lists for it, and, where PyTorch
takes an option by position, that too (`POSITIONAL`). Anything else is an error that names the nearest. A call in our
own spelling passes through one Python frame: tens of nanoseconds.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, TypeVar, cast

from dtrain.base.errors import expected
from dtrain.base.keywords import (
    ADVICE,
    ANY,
    CONVERTED,
    EXCEPTIONS,
    KEYWORDS,
    METHODS,
    PLACED,
    POSITIONAL,
    WITHOUT_EFFECT,
)
from dtrain.base.statement import is_statement

Function = TypeVar("Function", bound=Callable[..., Any])


class _Missing:
    """Stands for an argument that was not given."""

    def __repr__(self) -> str:
        return "nothing"


MISSING = _Missing()


def translations(name: str, words: Sequence[str]) -> dict[str, str]:
    """The keywords of others that a function takes, with ours. `name` is the function's, or the class's.

    An import asks 500 times: it goes by our words, which are few, and not through all of theirs.
    """
    taken = {theirs for own in words for theirs in _THEIRS.get(own, ()) if theirs not in words}
    found = {theirs: next(own for own in KEYWORDS[theirs] if own in words) for theirs in sorted(taken, key=_order)}
    return found | {theirs: own for theirs, own in EXCEPTIONS.get(name, {}).items() if own in words}


_order = {theirs: number for number, theirs in enumerate(KEYWORDS)}.__getitem__
_THEIRS: dict[str, list[str]] = {}
for _theirs, _candidates in KEYWORDS.items():
    for _own in _candidates:
        _THEIRS.setdefault(_own, []).append(_theirs)


def without_effect(name: str, words: Sequence[str]) -> set[str]:
    """The keywords that a function takes and does not need."""
    return {word for word, (names, _, _) in WITHOUT_EFFECT.items() if name in names and word not in words}


def spelled(function: Function, name: str = "") -> Function:
    """`function` with the keywords of others; itself where it takes any number of arguments or none of theirs."""
    assert isinstance(function, FunctionType)
    if function in _SPELLED:
        return cast(Function, _SPELLED[function])
    name = name or function.__name__.lstrip("_")
    words = parameters_of(function)
    if words is None or not (
        translations(name, words) or without_effect(name, words) or name in POSITIONAL or name in PLACED
    ):
        return function
    space: dict[str, Any] = {"__name__": __name__, "_first_call": lambda *given: _first_call(space, name, *given)}
    wrapper = FunctionType(_not_yet_called.__code__, space, function.__name__)
    for attribute in ("__module__", "__qualname__", "__doc__", "__annotations__"):
        setattr(wrapper, attribute, getattr(function, attribute))
    wrapper.__wrapped__ = function  # type: ignore[attr-defined]
    space["_wrapper"] = _SPELLED[function] = wrapper
    return cast(Function, wrapper)


_SPELLED: dict[FunctionType, FunctionType] = {}


def parameters_of(function: FunctionType) -> tuple[str, ...] | None:
    """The names of a function's parameters, decorators left aside; None if it takes any number."""
    code: CodeType = inspect.unwrap(function).__code__
    if code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
        return None
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _not_yet_called(*arguments: Any, **keywords: Any) -> Any:
    """What `spelled` gives at first: most functions are never called, and compiling them all would slow the import."""
    return _first_call(arguments, keywords)  # type: ignore[call-arg, arg-type]


def _first_call(space: dict[str, Any], name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    wrapper = space["_wrapper"]
    compiled = _compiled(wrapper.__wrapped__, name, space)
    wrapper.__defaults__, wrapper.__kwdefaults__ = compiled.__defaults__, compiled.__kwdefaults__
    wrapper.__code__ = compiled.__code__
    return wrapper(*arguments, **keywords)


def spell_all(namespace: MutableMapping[str, Any]) -> None:
    """Let every public function and class of a namespace take the keywords of others."""
    for name, value in list(namespace.items()):
        if name.startswith("_") or not getattr(value, "__module__", "").startswith("dtrain."):
            continue
        if isinstance(value, FunctionType):
            namespace[name] = spelled(value)
        elif isinstance(value, type):
            spell_class(value)


def spell_class(kind: type) -> None:
    """Let the constructor of a class, and the methods that `METHODS` names, take the keywords of others."""
    for base in kind.__mro__[1:]:  # one that is not public has a constructor that is
        if base.__name__.startswith("_") and base.__module__.startswith("dtrain."):
            own = vars(base).get("__init__")
            if isinstance(own, FunctionType) and not hasattr(own, "__wrapped__"):
                base.__init__ = spelled(own, base.__name__.lstrip("_"))  # type: ignore[misc]
    for word in ("__init__", *METHODS):
        own = vars(kind).get(word)
        if isinstance(own, FunctionType) and not hasattr(own, "__wrapped__"):
            setattr(kind, word, spelled(own, kind.__name__ if word == "__init__" else word))


def _compiled(function: FunctionType, name: str, space: dict[str, Any]) -> FunctionType:
    """A function with the same parameters, and `**other` behind them, that calls the given one.

    Written out and compiled, since passing `*args, **kwargs` on costs three times as much.
    """
    parameters = inspect.signature(function).parameters
    is_named = {p.name: p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters.values()}
    by_position = [word for word, named in is_named.items() if not named]
    by_position += [word for word in POSITIONAL.get(name, ()) if is_named.get(word, False)]
    heads = [f"{word}=_default_{word}" for word in by_position]
    rest = [f"{word}=_default_{word}" for word in parameters if word not in by_position]
    heads += ["*", *rest] if rest else []
    required = [word for word, p in parameters.items() if p.default is inspect.Parameter.empty]
    check = f" or {required[-1]} is _missing" if required else ""
    source = (
        f"def spelled({', '.join(heads)}, **_other):\n"
        f"    if _other{check}:\n"
        f"        return _respell(_other, {{{', '.join(f'{word!r}: {word}' for word in parameters)}}})\n"
        f"    return _function({', '.join(f'{w}={w}' if named else w for w, named in is_named.items())})\n"
    )
    translated, ignored = translations(name, tuple(parameters)), without_effect(name, tuple(parameters))
    defaults = {word: MISSING if word in required else p.default for word, p in parameters.items()}
    plan = Plan(
        name,
        translated,
        ignored,
        defaults,
        [word for word, named in is_named.items() if not named],
        tuple(word for word in ("device", "dtype") if name in PLACED and word not in parameters),
    )
    space |= {f"_default_{word}": default for word, default in defaults.items()}
    space |= {"_function": function, "_missing": MISSING}
    space["_respell"] = lambda other, given: respell(space["_function"], plan, other, given)
    exec(compile(source, f"<spelling of {name}>", "exec"), space)
    return cast(FunctionType, space["spelled"])


@dataclass(frozen=True)
class Plan:
    """What a function takes: keywords of others with ours, those without effect, defaults, what goes by position."""

    name: str
    ours: Mapping[str, str]
    ignored: set[str]
    defaults: Mapping[str, Any]
    by_position: Sequence[str]
    placed: tuple[str, ...] = ()  # taken by a constructor for what it has made


def respell(function: Callable[..., Any], plan: Plan, other: Mapping[str, Any], given: dict[str, Any]) -> Any:
    """Call the function with its own keywords in the place of others. `given` has a value for every parameter."""
    places: list[Any] = []
    for word, value in other.items():
        own = plan.ours.get(word)
        if own is not None:
            if given[own] is not plan.defaults[own]:
                raise TypeError(expected(f"{plan.name}()", f"one of {own} and {word}", "both"))
            given[own] = CONVERTED[word](value) if word in CONVERTED else value
        elif word in plan.ignored:
            _check_ignored(plan.name, word, value)
        elif word in plan.placed:
            places += [] if value is None else [value]
        else:
            raise TypeError(_unknown(plan.name, word, [*plan.defaults, *plan.ours, *plan.ignored, *plan.placed]))
    missing = [word for word, value in given.items() if value is MISSING]
    if missing:
        raise TypeError(expected(f"{plan.name}()", " and ".join(missing), "nothing"))
    arguments = [given.pop(word) for word in plan.by_position]
    result = function(*arguments, **given)
    for place in places:
        arguments[0].to(place)
    return result


def _check_ignored(name: str, word: str, value: Any) -> None:
    _, values, advice = WITHOUT_EFFECT[word]
    if ANY not in values and value not in values:
        wanted = " or ".join(map(repr, values))
        raise ValueError(expected(f"{name}()", f"{word} of {wanted}, or none", repr(value), advice))
    if word == "inplace" and value:
        expect_taken(name)


def expect_taken(name: str) -> None:
    """Raise where the result of a call with inplace=True is dropped: the input does not change here."""
    if is_statement():
        advice = "write x = … before it: the input of an activation does not change here"
        raise TypeError(expected(f"{name}(inplace=True)", "its result to be used", "a call that drops it", advice))


def _unknown(name: str, word: str, known: list[str]) -> str:
    import difflib

    known = [other for other in known if other != "self"]
    near = difflib.get_close_matches(word, known, n=1)
    advice = ADVICE.get(word) or (f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}")
    return expected(f"{name}()", "keywords that it has", repr(word), advice)
