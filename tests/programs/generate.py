"""Random programs: the seed decides everything, and the same seed on another number of ranks only cuts batches anew.

Features come often enough together that two of them meet in every few programs, and rarely enough that most programs
stay short. What one process has no answer for is left out here, with the reason beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from programs.program import (
    Event,
    Layer,
    Net,
    Pass,
    Penalty,
    Program,
    Sizes,
    Term,
    has_parameters,
    is_always_used,
    is_norm,
    names_in,
    trained_in,
)

Item = TypeVar("Item")

_KINDS = {
    "linear": 6,
    "norm": 4,
    "conv": 1,
    "layer_norm": 1,
    "scale": 1,
    "dropout": 0.4,
    "late": 0.7,
    "odd": 0.25,
    "unused": 0.4,
}
_BORROWED = {"again": 1.0, "transposed": 0.8, "gamma": 1.2, "shared": 0.7, "energy": 0.7}
_DTYPES = {"f64": 11, "f32": 4, "f16": 3, "bf16": 1}
_EVENTS = {
    "freeze": 1,
    "unfreeze": 2,
    "late": 2,
    "replace": 1,
    "evaluate": 2,
    "still": 1,
    "load": 1,
    "copy": 1,
    "pickle": 1,
}
_HEAVY = 256.0  # factor of a loss in f16: gradients as large as people scale them to


class _Random:
    """Choices by weight."""

    def __init__(self, *seed: int) -> None:
        self.numbers = np.random.default_rng(seed)

    def chance(self, probability: float) -> bool:
        return bool(self.numbers.random() < probability)

    def integer(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return int(self.numbers.integers(low, high + 1))

    def of(self, items: Sequence[Item]) -> Item:
        return items[int(self.numbers.integers(len(items)))]

    def by_weight(self, weights: dict[str, float]) -> str:
        chances = np.array(list(weights.values()), np.float64)
        return list(weights)[int(self.numbers.choice(len(weights), p=chances / chances.sum()))]


def generate(seed: int, ranks: int) -> Program:
    """The program of a seed for this many ranks."""
    random = _Random(seed)
    dtype = random.by_weight(_DTYPES)
    nets = _nets(random)
    if dtype in ("f16", "bf16") and random.chance(0.3):
        nets = tuple(replace(net, wide=_own_norms(net)) for net in nets)
    data, passes = _passes(random, nets, dtype)
    num_steps = random.integer(1, 4) if dtype in ("f64", "f32") else random.integer(1, 2)
    program = Program(
        seed=seed,
        dtype=dtype,
        nets=nets,
        passes=passes,
        data=data,
        sizes=(),
        events=_events(random, nets, num_steps),
        traced=random.chance(0.5),
        optimizer=random.by_weight({"sgd": 3, "momentum": 2, "adam": 1}),
        clip=0.5 if random.chance(0.15) else None,
        update_every=2 if num_steps in (2, 4) and random.chance(0.2) else 1,
        resume_at=random.integer(1, num_steps - 1) if num_steps > 1 and random.chance(0.2) else 0,
    )
    if any(layer.kind == "odd" for layer in program.layers()):
        program = replace(program, traced=False)  # ranks would have different graphs
    waits = random.chance(0.5) and not any(one.order == "grad" for one in passes)
    copied = any(event.kind in ("copy", "pickle") for event in program.events)
    waits = waits and not (copied and any(net.taken for net in nets))
    program = replace(program, waiting=program.update_every > 1 and waits)
    program = _settled(_with_windows(program, num_steps, _Random(seed, 0, 1)), random)
    return replace(program, sizes=_sizes(program, ranks, num_steps, _Random(seed, ranks), random.integer(0, 10**6)))


# Nets -----------------------------------------------------------------------------------------------------------------


def _nets(random: _Random) -> tuple[Net, ...]:
    first = _net(random, "a")
    nets = [first]
    if random.chance(0.4):
        other = _net(random, "b")
        if random.chance(0.7):
            # Two equal nets with equal names.
            unlike = random.chance(0.3) and not any(layer.kind == "odd" for layer in first.layers)
            other = replace(first, name="b", frozen=other.frozen if unlike else first.frozen)
            own = [layer.name for layer in first.layers if has_parameters(layer) and layer.kind != "scale"]
            if own and random.chance(0.2):
                other = replace(other, taken=(random.of(own),))
        nets.append(replace(other, frozen=_names_in(other.frozen, other)))
    elif random.chance(0.15):
        nets.append(replace(_net(random, "b", dropout=False), wrapped=False, frozen=()))
    return tuple(nets)


def _own_norms(net: Net) -> tuple[str, ...]:
    """Norms whose weights no other layer uses: f32 ones would make everything behind f32 too."""
    lent = {layer.of for layer in net.layers if layer.kind != "again"}
    return tuple(layer.name for layer in net.layers if layer.kind == "norm" and layer.name not in lent)


def _names_in(names: tuple[str, ...], net: Net) -> tuple[str, ...]:
    known = {layer.name for layer in net.layers if has_parameters(layer)}
    return tuple(name for name in names if name in known)


def _net(random: _Random, name: str, *, dropout: bool = True) -> Net:
    layers: list[Layer] = []
    for number in range(random.integer(1, 5)):
        layers.append(_layer(random, f"l{number}", layers))
    if not dropout:
        layers = [layer for layer in layers if layer.kind not in ("dropout", "odd")]
    if not any(map(is_always_used, layers)):
        layers.insert(0, Layer("l9", "linear"))
    own = [layer.name for layer in layers if has_parameters(layer)]
    odd = any(layer.kind == "odd" for layer in layers)
    frozen = (random.of(own),) if len(own) > 1 and not odd and random.chance(0.2) else ()
    bucket = random.of([None, 0.0, 0.00005, 0.0001, 0.0005, 0.0005])
    norm = "sync" if random.chance(0.8) else "plain"
    first = random.of([0, 0, 0, 0, 1, 2])
    return Net(name, tuple(layers), norm=norm, bucket_mb=bucket, ignore_first=first, frozen=frozen)


def _layer(random: _Random, name: str, before: list[Layer]) -> Layer:
    if random.chance(0.3):
        kind = random.by_weight(_BORROWED)
        wanted = {
            "again": ("linear", "norm", "conv", "layer_norm"),
            "transposed": ("linear",),
            "gamma": ("norm", "layer_norm"),
            "shared": ("norm",),
            "energy": ("linear", "norm", "layer_norm"),
        }[kind]
        lenders = [layer.name for layer in before if layer.kind in wanted]
        if lenders:
            return Layer(name, kind, random.of(lenders))
    return Layer(name, random.by_weight(_KINDS))


# Passes ---------------------------------------------------------------------------------------------------------------


def _passes(random: _Random, nets: tuple[Net, ...], dtype: str) -> tuple[str, tuple[Pass, ...]]:
    """The letters of the data, and the passes over it; every net has a term in the last one."""
    wrapped = [net.name for net in nets if net.wrapped]
    alone = [net.name for net in nets if not net.wrapped]
    letters: list[str] = []

    def letter(again: float) -> str:
        if letters and random.chance(again):
            return random.of(letters)
        letters.append("pqrstuvw"[len(letters)])
        return letters[-1]

    def term(name: str) -> Term:
        then = random.of(wrapped) if len(wrapped) > 1 and random.chance(0.4) else ""
        loss = random.by_weight({"mse": 7, "entropy": 2, "tokens": 1})
        factor = _HEAVY if dtype == "f16" and random.chance(0.5) else random.of([1.0, 1.0, 1.0, 0.5])
        evaluated = random.chance(0.08)
        then = "" if then == name else then
        detached = bool(then) and random.chance(0.2)
        return Term(name, letter(0.4), loss, then, detached, factor, evaluated)

    passes = []
    count = 1 if random.chance(0.65) else random.integer(2, 3)
    for number in range(count):
        is_last = number == count - 1
        names = wrapped if is_last else [random.of(wrapped)]
        terms = [term(name) for name in names]
        if random.chance(0.25):
            terms.append(term(random.of(wrapped)))
        order = "one" if len(terms) == 1 or random.chance(0.6) else random.of(["each", "reversed"])
        if order == "one" and random.chance(0.08):
            order = random.of(["twice", "grad"])
        no_sync = not is_last and order != "grad" and random.chance(0.5)
        one = Pass(tuple(terms), (), order, no_sync)
        mine = [net for net in nets if net.name in names_in(one) or not no_sync]
        passes.append(replace(one, penalties=_penalties(random, mine)))
    if alone:
        terms = Term(alone[0], "z", factor=_HEAVY if dtype == "f16" else 1.0)
        letters.append("z")
        passes[-1] = replace(passes[-1], terms=(*passes[-1].terms, terms))
    return "".join(letters), tuple(passes)


def _penalties(random: _Random, nets: Sequence[Net]) -> tuple[Penalty, ...]:
    if not random.chance(0.25):
        return ()
    net = random.of(nets)
    kind = "l1" if random.chance(0.3) else "l2"
    weighty = [layer.name for layer in net.layers if layer.kind in ("linear", "norm", "conv", "layer_norm")]
    weighty = [name for name in weighty if name not in net.frozen]
    layer = random.of(weighty) if weighty and random.chance(0.5) else ""
    return (Penalty(net.name, layer, kind),)


# Events ---------------------------------------------------------------------------------------------------------------


def _events(random: _Random, nets: tuple[Net, ...], num_steps: int) -> tuple[Event, ...]:
    events: list[Event] = []
    if num_steps > 1 and random.chance(0.55):
        for _ in range(random.integer(1, 2)):
            events += _event(random, random.of(nets), random.integer(1, num_steps - 1))
    if random.chance(0.04):
        events.append(Event(0, "inner", nets[0].name))
    return tuple(sorted(events, key=lambda event: event.at))


def _event(random: _Random, net: Net, at: int) -> list[Event]:
    kind = random.by_weight(_EVENTS)
    own = [layer for layer in net.layers if has_parameters(layer)]
    odd = any(layer.kind == "odd" for layer in net.layers)
    names = {
        "freeze": [layer.name for layer in own if layer.name not in net.frozen] if len(own) > 1 and not odd else [],
        "unfreeze": list(net.frozen),
        "late": [layer.name for layer in net.layers if layer.kind == "late"],
        "still": [layer.name for layer in net.layers if layer.kind == "norm"],
        # Shared weights would come apart: another program, with an answer of its own, but not a likely one.
        "replace": [layer.name for layer in own if layer.kind in ("linear", "conv", "layer_norm", "norm")],
    }.get(kind)
    retrace = random.chance(0.6) or kind in ("copy", "pickle")
    if names is None:
        return [Event(at, kind, net.name, retrace=retrace)]
    return [Event(at, kind, net.name, random.of(names), retrace)] if names else []


# Windows of no_sync ---------------------------------------------------------------------------------------------------


def _with_windows(program: Program, num_steps: int, random: _Random) -> Program:
    """The program with things done to gradients that wait: dropping them, freezing, updates while they do."""
    copied = any(event.kind in ("copy", "pickle") for event in program.events)
    passes = [program.passes[0]]
    for one in program.passes[1:]:
        net = random.of(program.nets)
        own = [layer.name for layer in net.layers if has_parameters(layer)]
        forgets = random.of(["*", f"{net.name}.{random.of(own)}"]) if random.chance(0.25) else ""
        passes.append(replace(one, forgets=forgets))
    inside = random.chance(0.08) and not (copied and any(net.taken for net in program.nets))
    events = program.events
    if program.waiting or (inside and program.update_every > 1):
        holds = random.chance(0.5)
        events = tuple(replace(event, kind="hold") if event.kind == "freeze" and holds else event for event in events)
        net = random.of(program.nets)
        own = [layer.name for layer in net.layers if has_parameters(layer) and layer.name not in net.frozen]
        if len(own) > 1 and not any(layer.kind == "odd" for layer in net.layers) and random.chance(0.3):
            added = Event(random.of(range(1, num_steps, 2)), "hold", net.name, random.of(own), random.chance(0.6))
            events = tuple(sorted([*events, added], key=lambda event: event.at))
    return replace(program, passes=tuple(passes), inside=inside, events=events)


# What fits together ---------------------------------------------------------------------------------------------------


def _settled(program: Program, random: _Random) -> Program:
    """The program without combinations that have no answer on one process, or none that can be compared."""
    by_parts = program.by_parts
    terms_may_evaluate = not program.traced and not by_parts
    passes = tuple(
        replace(one, terms=tuple(replace(t, evaluated=t.evaluated and terms_may_evaluate) for t in one.terms))
        for one in program.passes
    )
    passes = tuple(
        replace(one, no_sync=one.no_sync and names_in(one) <= _synchronized(passes[place + 1 :]))
        for place, one in enumerate(passes)
    )
    events = program.events
    if by_parts:
        # Sync-BN beside them needs the whole batch at once.
        program = replace(program, nets=tuple(replace(net, norm="plain") for net in program.nets))
    resume_at = 0 if by_parts or program.update_every > 1 else program.resume_at
    if resume_at:
        # A copy of the program that starts in the middle knows only what happens behind that.
        events = tuple(event for event in events if event.at >= resume_at or event.kind == "evaluate")
    if not all(net.wrapped for net in program.nets):
        events = tuple(event for event in events if event.net == program.nets[0].name)
    return replace(program, passes=passes, events=events, resume_at=resume_at)


def _synchronized(passes: Sequence[Pass]) -> set[str]:
    """The nets whose waiting gradients would join those of these passes."""
    return {name for one in passes if not one.no_sync for name in trained_in(one)}


# Batches --------------------------------------------------------------------------------------------------------------


def _sizes(program: Program, ranks: int, num_steps: int, random: _Random, seed: int) -> tuple[Sizes, ...]:
    """Sizes for every step, letter and rank; totals depend on the seed of the program alone."""
    totals = _Random(seed)
    needs_two = any(is_norm(layer) for layer in program.layers())
    plain = any(is_norm(layer) for net in program.nets if net.norm == "plain" and net.wrapped for layer in net.layers)
    often_even, later = random.chance(0.3), random.of([1, 2, 3])
    heavy = program.dtype == "f16" and totals.chance(0.5)
    steps, before = [], ()
    for step in range(num_steps):
        size = later if program.resume_at and step >= program.resume_at else ranks
        if before and len(before[0]) == size and random.chance(0.5):
            steps.append(before)  # a traced step runs again
            continue
        columns = []
        for _ in program.data:
            total = totals.integer(2 if needs_two else 1, 9)
            if heavy:
                total *= totals.of([64, 256, 512])
            if plain:  # plain batch norm needs two samples on every rank
                columns.append(tuple(2 + part for part in _split(random, total, size, often_even)))
            else:
                columns.append(_split(random, total, size, often_even))
        before = tuple(columns)
        steps.append(before)
    return tuple(steps)


def _split(random: _Random, total: int, ranks: int, even: bool) -> tuple[int, ...]:
    if even:
        return tuple(total // ranks + (rank < total % ranks) for rank in range(ranks))
    ends = sorted(random.integer(0, total) for _ in range(ranks - 1))
    return tuple(end - begin for begin, end in zip([0, *ends], [*ends, total]))
