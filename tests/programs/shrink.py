"""Make a failing program small: take away whatever the failure does not need, until nothing more can go.

Every change gives a whole program. One that has no answer on one process does not fail, so it is not taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from programs.judge import Outcome
from programs.program import Event, Layer, Net, Pass, Penalty, Program, Sizes, Term, why_not

Judge = Callable[[Program], Outcome]


def shrink(program: Program, judge: Judge, *, max_runs: int = 400) -> tuple[Program, Outcome]:
    """The smallest program found that fails as this one does, and its outcome.

    Raises:
        ValueError: the program does not fail.
    """
    outcome = judge(program)
    if not outcome.is_failure:
        raise ValueError(f"shrink: expected a program that fails, got {outcome.verdict}")
    wanted, runs = kind_of(outcome), 0
    seen: set[Program] = {program}
    found = True
    while found:
        found = False
        for candidate in _smaller(program):
            if candidate in seen or why_not(candidate) or runs >= max_runs:
                continue
            seen.add(candidate)
            runs += 1
            new = judge(candidate)
            if new.is_failure and kind_of(new) == wanted:
                program, outcome, found = candidate, new, True
                break
    return program, outcome


def kind_of(outcome: Outcome) -> str:
    """Failures that may stand for each other: wrong numbers, or one type of error."""
    return outcome.text.partition(":")[0] if outcome.verdict == "error" else "numbers"


def _smaller(program: Program) -> Iterator[Program]:
    """Programs with one thing less, the largest things first."""
    yield from _fewer_steps(program)
    yield from _without_nets(program)
    for passes in _without_one(program.passes):
        if passes:
            yield replace(program, passes=passes)
    for events in _without_one(program.events):
        yield replace(program, events=events)
    yield from _plainer(program)
    yield from _smaller_passes(program)
    yield from _smaller_nets(program)
    yield from _fewer_ranks(program)
    yield from _smaller_batches(program)


def _without_one(items: tuple) -> Iterator[tuple]:
    return (items[:i] + items[i + 1 :] for i in range(len(items)))


def _fewer_steps(program: Program) -> Iterator[Program]:
    for at in range(len(program.sizes) - 1, -1, -1):
        if len(program.sizes) == 1:
            return
        events = tuple(replace(event, at=event.at - (event.at > at)) for event in program.events)
        events = tuple(event for event in events if event.at < len(program.sizes) - 1)
        resume_at = program.resume_at - (program.resume_at > at)
        if not 0 < resume_at < len(program.sizes) - 1:
            resume_at = 0
        sizes = program.sizes[:at] + program.sizes[at + 1 :]
        if resume_at or len({len(step[0]) for step in sizes}) == 1:
            yield replace(program, sizes=sizes, events=events, resume_at=resume_at)


def _without_nets(program: Program) -> Iterator[Program]:
    for net in program.nets:
        rest = tuple(other for other in program.nets if other is not net)
        if not any(other.wrapped for other in rest):
            continue
        passes = []
        for one in program.passes:
            terms = tuple(
                replace(term, then="" if term.then == net.name else term.then)
                for term in one.terms
                if term.net != net.name
            )
            penalties = tuple(penalty for penalty in one.penalties if penalty.net != net.name)
            forgets = "" if one.forgets.startswith(f"{net.name}.") else one.forgets
            passes += [replace(one, terms=terms, penalties=penalties, forgets=forgets)] if terms else []
        events = tuple(event for event in program.events if event.net != net.name)
        if passes:
            yield replace(program, nets=rest, passes=tuple(passes), events=events)


def _plainer(program: Program) -> Iterator[Program]:
    """One setting of the whole program back to its default."""
    if len(set(program.worlds)) == 1 or not program.resume_at:
        yield replace(program, resume_at=0)
    yield replace(program, traced=False)
    yield replace(program, optimizer="sgd")
    yield replace(program, clip=None)
    yield replace(program, update_every=1, waiting=False)
    yield replace(program, waiting=False)
    yield replace(program, inside=False)
    yield replace(program, dtype="f64", nets=tuple(replace(net, wide=()) for net in program.nets))
    yield replace(program, seed=0)


# Passes ---------------------------------------------------------------------------------------------------------------


def _smaller_passes(program: Program) -> Iterator[Program]:
    for place, one in enumerate(program.passes):
        for smaller in _smaller_pass(one):
            yield replace(program, passes=(*program.passes[:place], smaller, *program.passes[place + 1 :]))


def _smaller_pass(one: Pass) -> Iterator[Pass]:
    for terms in _without_one(one.terms):
        if terms:
            yield replace(one, terms=terms)
    for penalties in _without_one(one.penalties):
        yield replace(one, penalties=penalties)
    yield replace(one, no_sync=False)
    yield replace(one, order="one")
    yield replace(one, forgets="")
    if one.forgets:
        yield replace(one, forgets="*")
    for place, term in enumerate(one.terms):
        for plain in _plainer_term(term):
            yield replace(one, terms=(*one.terms[:place], plain, *one.terms[place + 1 :]))
    for place, penalty in enumerate(one.penalties):
        yield replace(one, penalties=(*one.penalties[:place], _plainer_penalty(penalty), *one.penalties[place + 1 :]))


def _plainer_term(term: Term) -> Iterator[Term]:
    yield replace(term, then="", detached=False)
    yield replace(term, detached=False)
    yield replace(term, loss="mse")
    yield replace(term, factor=1.0)
    yield replace(term, evaluated=False)
    yield replace(term, data="p")


def _plainer_penalty(penalty: Penalty) -> Penalty:
    return replace(penalty, kind="l2")


# Nets -----------------------------------------------------------------------------------------------------------------


def _smaller_nets(program: Program) -> Iterator[Program]:
    names = [layer.name for net in program.nets for layer in net.layers]
    for name in dict.fromkeys(names):  # from all nets at once, so that equal ones stay equal
        yield from _with_layers(program, lambda net, name=name: _without_layer(net.layers, name))
    for net in program.nets:
        for layer in net.layers:
            yield from _with_layers(
                program,
                lambda other, net=net, layer=layer: (
                    _without_layer(net.layers, layer.name) if other is net else other.layers
                ),
            )
    for place, net in enumerate(program.nets):
        for change in (
            {"bucket_mb": None},
            {"ignore_first": 0},
            {"frozen": ()},
            {"taken": ()},
            {"wide": ()},
            {"norm": "sync"},
        ):
            plain = replace(net, **change)
            yield replace(program, nets=(*program.nets[:place], plain, *program.nets[place + 1 :]))
    for net in program.nets:
        lent = {layer.of for layer in net.layers}
        for place, layer in enumerate(net.layers):
            if layer.kind not in ("linear", "late", "dropout") and layer.name not in (*lent, *net.wide):
                layers = (*net.layers[:place], Layer(layer.name, "linear"), *net.layers[place + 1 :])
                yield from _with_layers(
                    program,
                    lambda other, net=net, layers=layers: layers if other.layers == net.layers else other.layers,
                )


def _without_layer(layers: tuple[Layer, ...], name: str) -> tuple[Layer, ...]:
    return tuple(layer for layer in layers if name not in (layer.name, layer.of))


def _with_layers(program: Program, change: Callable[[Net], tuple[Layer, ...]]) -> Iterator[Program]:
    """The program with other layers, and without what spoke of those that are gone; every net keeps a parameter."""
    nets = []
    for net in program.nets:
        layers = change(net)
        known = {layer.name for layer in layers}
        kept = {
            field: tuple(name for name in getattr(net, field) if name in known) for field in ("frozen", "taken", "wide")
        }
        nets.append(replace(net, layers=layers, **kept))
    known = {net.name: {"", *(layer.name for layer in net.layers)} for net in nets}

    def still(item: Penalty | Event) -> bool:
        return item.layer in known[item.net]

    layers_left = {"*", *(f"{net.name}.{layer.name}" for net in nets for layer in net.layers)}
    passes = tuple(
        replace(
            one,
            penalties=tuple(filter(still, one.penalties)),
            forgets=one.forgets if one.forgets in layers_left else "",
        )
        for one in program.passes
    )
    events = tuple(filter(still, program.events))
    if tuple(nets) != program.nets:
        yield replace(program, nets=tuple(nets), passes=passes, events=events)


# Batches --------------------------------------------------------------------------------------------------------------


def _fewer_ranks(program: Program) -> Iterator[Program]:
    if min(program.worlds) > 2:
        yield replace(program, sizes=tuple(tuple(column[:-1] for column in step) for step in program.sizes))
    if program.resume_at and program.worlds[0] != program.worlds[1]:
        ranks = min(program.worlds)
        yield replace(program, sizes=tuple(tuple(column[:ranks] for column in step) for step in program.sizes))


def _smaller_batches(program: Program) -> Iterator[Program]:
    for smaller in ((2, 1), (1, 1)):
        if program.worlds == (2,):
            column: Sizes = tuple(smaller for _ in program.data)
            yield replace(program, sizes=tuple(column for _ in program.sizes))
    for at, step in enumerate(program.sizes):
        for place, column in enumerate(step):
            for rank, count in enumerate(column):
                for fewer in {count // 2, min(count, 1)} - {count, 0}:
                    new = (*column[:rank], fewer, *column[rank + 1 :])
                    changed = (*step[:place], new, *step[place + 1 :])
                    yield replace(program, sizes=(*program.sizes[:at], changed, *program.sizes[at + 1 :]))
