"""A training program as a value: nets, what a step does, the batches of every rank, and what happens in between.

`programs.text` prints it as Python, `programs.generate` makes random ones, `programs.shrink` makes failing ones small.
Layers, nets and data are named, never numbered by place, so that taking one away leaves the others as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

WIDTH = 3  # features of every layer's input and output, so that any two layers fit together


@dataclass(frozen=True, slots=True)
class Layer:
    """One line of a forward pass.

    Own parameters: linear, conv, norm, layer_norm, scale, odd, unused, late (a scale, None until an event gives it).
    Those of the layer `of`: again (the layer itself), transposed (its weight), gamma (a norm's weight as a scale),
    shared (a norm with its weight and bias), energy (its squared weight, added to the output). None: dropout.
    odd is a linear layer that only batches with an odd number of samples pass; unused is one that none does.
    """

    name: str
    kind: str
    of: str = ""


@dataclass(frozen=True, slots=True)
class Net:
    """A model. Nets with equal layers are instances of one class, under equal names of parameters.

    norm: sync or plain batch norm. wrapped: data-parallel; otherwise every rank trains it on the whole batch.
    bucket_mb: None for the default. ignore_first: gradients that stay out of buckets.
    frozen: layers without gradients when the net is wrapped. taken: layers of the first net that this one has too.
    wide: norms that stay f32 where the program has short floats.
    """

    name: str
    layers: tuple[Layer, ...]
    norm: str = "sync"
    wrapped: bool = True
    bucket_mb: float | None = None
    ignore_first: int = 0
    frozen: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    wide: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Term:
    """The mean of a loss over one batch: of `net`'s output, or of `then`'s on top of it.

    data: the batch's letter. loss: mse, entropy, or tokens (entropy over samples that are not ignored; they are the
    weight of the pass). detached: `net`'s output is a constant for `then`.
    evaluated: another forward pass, in evaluation, stands between this one and backward.
    """

    net: str
    data: str
    loss: str = "mse"
    then: str = ""
    detached: bool = False
    factor: float = 1.0
    evaluated: bool = False


@dataclass(frozen=True, slots=True)
class Penalty:
    """0.1 · Σ p² (l2) or Σ |p + 2| (l1, its kink out of reach) over a net's parameters, or over one layer's weight."""

    net: str
    layer: str = ""
    kind: str = "l2"


@dataclass(frozen=True, slots=True)
class Pass:
    """Forward passes and their backward.

    order: one (of the sum), each (all forwards, then a backward for each term), reversed (the same, last term first),
    twice (of the sum, whose history is kept), grad (gradients of the sum are asked for, and set).
    forgets: whose gradients are set to None before it: "*" for all, or net.layer.
    """

    terms: tuple[Term, ...]
    penalties: tuple[Penalty, ...] = ()
    order: str = "one"
    no_sync: bool = False
    forgets: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """What happens before the step `at`.

    Kinds: freeze, unfreeze (a layer), hold (freeze it, and leave it its gradients), late (gives the late parameter),
    replace (a layer's weight), evaluate, still (a norm goes on in evaluation mode), load (another state), copy, pickle
    (the wrapped model goes on as its copy), inner (the model inside is trained, its wrapper dropped).
    retrace: the step is traced anew; otherwise the trace has to notice.
    """

    at: int
    kind: str
    net: str
    layer: str = ""
    retrace: bool = True


# Batch sizes of a step: for each letter of data one size per rank.
Sizes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """All of it. `data` names the columns of `sizes`; the ranks of a step are as many as its sizes."""

    seed: int
    dtype: str
    nets: tuple[Net, ...]
    passes: tuple[Pass, ...]
    data: str
    sizes: tuple[Sizes, ...]
    events: tuple[Event, ...] = ()
    traced: bool = False
    optimizer: str = "sgd"
    clip: float | None = None
    update_every: int = 1
    waiting: bool = False  # steps without an update are inside of no_sync
    inside: bool = False  # so are those with one
    resume_at: int = 0  # before this step a checkpoint is saved and loaded, maybe by another number of ranks

    @property
    def worlds(self) -> tuple[int, ...]:
        """The number of ranks of each stretch between checkpoints."""
        ranks = [len(step[0]) for step in self.sizes]
        return (ranks[0], ranks[self.resume_at]) if self.resume_at else (ranks[0],)

    def net(self, name: str) -> Net:
        """The net of this name."""
        return next(net for net in self.nets if net.name == name)

    def terms(self) -> Iterator[Term]:
        """The terms of all passes."""
        return (term for one in self.passes for term in one.terms)

    def penalties(self) -> Iterator[Penalty]:
        """The penalties of all passes."""
        return (penalty for one in self.passes for penalty in one.penalties)

    def layers(self) -> Iterator[Layer]:
        """The layers of all nets."""
        return (layer for net in self.nets for layer in net.layers)

    def used_data(self) -> str:
        """The letters of the data that some term reads."""
        return "".join(letter for letter in self.data if any(term.data == letter for term in self.terms()))

    def is_whole(self, letter: str) -> bool:
        """Whether every rank has the whole batch: it feeds a net that is not data-parallel."""
        return any(term.data == letter and not self.net(term.net).wrapped for term in self.terms())

    @property
    def by_parts(self) -> bool:
        """Whether one process has to take the ranks' parts one by one: they have own statistics or random numbers."""
        plain = any(net.norm == "plain" and net.wrapped and _normalizes(net) for net in self.nets)
        return plain or any(layer.kind in ("dropout", "odd") for layer in self.layers())


def is_norm(layer: Layer) -> bool:
    """Whether it is a batch norm of its own."""
    return layer.kind in ("norm", "shared")


def _normalizes(net: Net) -> bool:
    return any(map(is_norm, net.layers))


def has_parameters(layer: Layer) -> bool:
    """Whether it has parameters of its own that exist from the beginning."""
    return layer.kind in ("linear", "conv", "norm", "layer_norm", "scale", "odd", "unused")


def is_always_used(layer: Layer) -> bool:
    """Whether it has parameters and every batch passes it."""
    return has_parameters(layer) and layer.kind not in ("odd", "unused")


def why_not(program: Program) -> str:
    """Why a program has no answer on one process, or none to compare with; empty if it has."""
    for net in program.nets:
        if not any(map(is_always_used, net.layers)):
            return f"net {net.name} has no parameters"
        if not net.wrapped and any(layer.kind in ("dropout", "odd") for layer in net.layers):
            return f"every rank drops other features of {net.name}, which is not data-parallel"
    for place, one in enumerate(program.passes):
        later = {name for other in program.passes[place + 1 :] if not other.no_sync for name in trained_in(other)}
        if one.no_sync and not names_in(one) <= later:
            return "gradients wait for a pass that does not come"
    if any(penalty.net not in names_in(one) for one in program.passes for penalty in one.penalties if one.no_sync):
        return "the penalty of a net is in a pass that is not its own"
    if program.by_parts and any(net.norm == "sync" and net.wrapped and _normalizes(net) for net in program.nets):
        return "sync-BN needs the whole batch at once, and others their parts one by one"
    for net in program.nets:
        freezes = net.frozen or any(
            event.kind in ("freeze", "hold") and event.net == net.name for event in program.events
        )
        if freezes and any(layer.kind == "odd" for layer in net.layers):
            return f"a rank may have nothing left to train in {net.name}"
    if (program.waiting or program.inside) and len(program.sizes) % program.update_every:
        return "gradients wait at the end"
    if program.traced and any(layer.kind == "odd" for layer in program.layers()):
        return "ranks have different graphs"
    copied = any(event.kind in ("copy", "pickle") for event in program.events)
    if program.waiting and copied and any(net.taken for net in program.nets):
        return "a copy leaves what waits for a layer of two models behind"
    if program.waiting and program.update_every == 1:
        return "every step updates"
    if program.resume_at and (program.by_parts or program.update_every > 1):
        return "random numbers and gradients are not in a checkpoint"
    if any(term.evaluated for term in program.terms()) and (program.traced or program.by_parts):
        return "an evaluation inside of a step is an eager one"
    return ""


def names_in(one: Pass) -> set[str]:
    """The nets that a pass goes through."""
    return {name for term in one.terms for name in (term.net, term.then) if name}


def trained_in(one: Pass) -> set[str]:
    """The nets that a pass gives gradients."""
    return {name for term in one.terms for name in ("" if term.detached else term.net, term.then) if name}
