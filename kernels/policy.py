"""How a process chooses among the kernels of an op: in which order, with which features, and which are forced.

    DTRAIN_ISA=avx2                 no more than AVX2; or scalar, reference, or features such as avx2,fma
    DTRAIN_KERNELS=measured         the fastest by measurement instead of the cheapest by estimate
    DTRAIN_KERNELS=winograd         in f32 also kernels that round further than products added one by one, and let an
                                    output see a rounding of inputs that its weights leave out
    DTRAIN_KERNELS=conv2d_f32_im2col_avx2   this kernel, wherever it is usable

Both are read when the first kernel is chosen; later `set_policy` or `using` change the choice, also for what eager ops
have chosen already; a traced function keeps its kernels. The policy is one for all threads, so that ranks that are
threads compute alike.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from dtrain.base.environment_variables import RENAMED
from dtrain.base.errors import expected
from dtrain.kernels.features import named_features

ORDERS = ("cost", "first", "measured", "measure")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What decides between several usable kernels of one op.

    order: `cost` takes the least estimate, `first` the first in the list; `measured` the fastest of those that were
        measured on this machine, and the least estimate where nothing was; `measure` times what was not, and keeps it.
    isa: caps the features of CPU kernels: names of instruction sets or features with commas between; `reference` leaves
        nothing but the references, on any device. Empty for no cap.
    forced: names of kernels that are taken wherever they are usable.
    is_accurate: leaves out kernels that round further than products added one by one (Winograd's convolution), unless
        they are forced. In f64, which is asked for the sake of its digits, they are left out anyway.
    """

    order: str = "cost"
    isa: str = ""
    forced: frozenset[str] = frozenset()
    is_accurate: bool = True

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(expected("kernel policy", "an order among " + ", ".join(ORDERS), repr(self.order)))
        if self.isa not in ("", "reference"):
            named_features(self.isa.split(","), where="DTRAIN_ISA")

    @property
    def only_references(self) -> bool:
        return self.isa == "reference"

    @property
    def features(self) -> frozenset[str] | None:
        """The features that a CPU kernel may need; None for all."""
        return named_features(self.isa.split(","), where="DTRAIN_ISA") if self.isa else None


def policy_from(environ: Mapping[str, str]) -> Policy:
    """What the environment says. Raises ValueError for names that nothing has."""
    for old, new in RENAMED.items():
        if environ.get(old):
            value = environ[old]
            raise ValueError(expected("dtrain", f"{new}={value}", f"{old}={value}", "the variable has a new name"))
    order, forced, is_accurate = "cost", [], True
    for word in filter(None, environ.get("DTRAIN_KERNELS", "").split(",")):
        if word in ORDERS:
            order = word
        elif word == "winograd":
            is_accurate = False
        else:
            forced.append(word)
    isa = environ.get("DTRAIN_ISA", "")
    return Policy(order=order, isa=isa, forced=frozenset(forced), is_accurate=is_accurate)


_current: Policy | None = None
_listeners: list[Callable[[], object]] = []


def current_policy() -> Policy:
    """The policy of this process."""
    global _current
    if _current is None:
        _current = policy_from(os.environ)
    return _current


def set_policy(policy: Policy) -> Policy:
    """Choose by `policy` from now on; returns the one before. What was chosen and kept is chosen anew."""
    global _current
    before = current_policy()
    _current = policy
    if policy != before:
        forget_choices()
    return before


@contextmanager
def using(**changes: Any) -> Iterator[Policy]:
    """A policy with these fields changed, for all threads, while the block runs."""
    before = current_policy()
    set_policy(replace(before, **changes))
    try:
        yield current_policy()
    finally:
        set_policy(before)


def forget_choices() -> None:
    """What was chosen and kept is chosen anew."""
    for forget in _listeners:
        forget()


def when_policy_changes(forget: Callable[[], object]) -> None:
    """Call `forget` when choices made so far no longer hold: whoever keeps them drops them."""
    _listeners.append(forget)
