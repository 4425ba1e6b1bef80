"""A program as the Python text that runs it: what is printed on a failure is what was run."""

from __future__ import annotations

import re

from programs.program import WIDTH, Event, Layer, Net, Pass, Penalty, Program, Term

_HEAD = """\
import dtrain as dt, dtrain.functional as F
from dtrain import collectives as dist, nn, optim
from programs.judge import compare
"""
_MADE = {
    "linear": f"nn.Linear({WIDTH}, {WIDTH})",
    "conv": "nn.Conv1d(1, 1, 3, padding=1)",
    "norm": f"nn.BatchNorm1d({WIDTH}, eps=0.1)",
    "shared": f"nn.BatchNorm1d({WIDTH}, eps=0.1)",
    "layer_norm": f"nn.LayerNorm({WIDTH}, eps=0.1)",
    "scale": f"dt.Parameter(dt.full(({WIDTH},), 0.8))",
    "odd": f"nn.Linear({WIDTH}, {WIDTH})",
    "unused": f"nn.Linear({WIDTH}, {WIDTH})",
    "late": "None",
    "dropout": "nn.Dropout(0.4)",
}
_OPTIMIZERS = {
    "sgd": "optim.SGD({parameters}, lr={lr})",
    "momentum": "optim.SGD({parameters}, lr={lr}, momentum=0.9, weight_decay=0.01)",
    "adam": "optim.Adam({parameters}, lr={lr}, eps=0.001)",
}
# Short floats have gradients of hundreds, and numbers of three digits.
_RATES = {"f64": 0.05, "f32": 0.05, "f16": 0.0001, "bf16": 0.001}


def text_of(program: Program) -> str:
    """The script, whose last line compares one process with the ranks."""
    modules = [kind for kind in ("copy", "pickle") if any(event.kind == kind for event in program.events)]
    lines = [*(f"import {name}" for name in modules), _HEAD]
    for name, net in _classes(program).items():
        lines += [*_class_lines(name, net), ""]
    lines += ["def program(run):", *("    " + line for line in _body(program)), ""]
    options = [f"worlds={program.worlds}", f"dtype={program.dtype!r}", f"seed={program.seed}"]
    if program.by_parts:
        options.append("by_parts=True")
    if program.resume_at:
        options.append(f"resume_at={program.resume_at}")
    return "\n".join([*lines, f"compare(program, {', '.join(options)})", ""])


def num_lines(text: str) -> int:
    """Lines with something on them."""
    return sum(bool(line.strip()) for line in text.splitlines())


# Classes --------------------------------------------------------------------------------------------------------------


def _classes(program: Program) -> dict[str, Net]:
    """One class for nets with equal layers."""
    classes: dict[str, Net] = {}
    for net in program.nets:
        classes.setdefault(_class_name(program, net), net)
    return classes


def _class_name(program: Program, net: Net) -> str:
    first = next(other for other in program.nets if other.layers == net.layers)
    return first.name.capitalize()


def _class_lines(name: str, net: Net) -> list[str]:
    made = [f"self.{layer.name} = {_MADE[layer.kind]}" for layer in net.layers if layer.kind in _MADE]
    made += [
        f"self.{layer.name}.{kind} = self.{layer.of}.{kind}"
        for layer in net.layers
        if layer.kind == "shared"
        for kind in ("weight", "bias")
    ]
    lines = [f"class {name}(nn.Module):"]
    lines += (
        [f"    def __init__(self): {made[0]}"]
        if len(made) == 1
        else ["    def __init__(self):", *(f"        {line}" for line in made)]
    )
    forward = _forward(net)
    if len(forward) == 1:
        return [*lines, f"    def forward(self, x): {forward[0]}"]
    return [*lines, "    def forward(self, x):", *(f"        {line}" for line in forward)]


def _forward(net: Net) -> list[str]:
    """Layers inside one another, and a new line wherever one reads its input twice."""
    kinds = {layer.name: layer.kind for layer in net.layers}
    lines, value = [], "x"
    for layer in net.layers:
        line = _line(layer, kinds)
        if len(_X.findall(line)) > 1 and value != "x":
            lines.append(f"x = {value}")
            value = "x"
        value = _X.sub(value.replace("\\", r"\\"), line)
        if layer.kind in ("odd", "late", "energy"):
            value = f"({value})"
    return [*lines, f"return {value}"]


_X = re.compile(r"\bx\b")


def _line(layer: Layer, kinds: dict[str, str]) -> str:
    own, of = f"self.{layer.name}", f"self.{layer.of}"
    if layer.kind == "again":
        return _line(Layer(layer.of, kinds[layer.of]), kinds)
    return {
        "linear": f"F.tanh({own}(x))",
        "conv": f"F.tanh({own}(x.reshape(len(x), 1, {WIDTH})).reshape(len(x), {WIDTH}))",
        "norm": f"{own}(x)",
        "shared": f"{own}(x)",
        "layer_norm": f"{own}(x)",
        "dropout": f"{own}(x)",
        "scale": f"{own} * x",
        "late": f"x if {own} is None else x * {own}",
        "transposed": f"F.tanh(F.matmul(x, {of}.weight))",
        "gamma": f"{of}.weight * x",
        "odd": f"F.tanh({own}(x)) if len(x) % 2 else x",
        "unused": "x",
        "energy": f"x + 0.05 * ({of}.weight * {of}.weight).sum()",
    }[layer.kind]


# The program ----------------------------------------------------------------------------------------------------------


def _body(program: Program) -> list[str]:
    names = ", ".join(net.name for net in program.nets)
    lines = [line for net in program.nets for line in _net_lines(program, net)]
    optimizer = _OPTIMIZERS[program.optimizer].format(parameters=f"run.trained({names})", lr=_RATES[program.dtype])
    lines.append(f"optimizer = {optimizer}")
    if program.resume_at:
        models = ", ".join(_model(net) for net in program.nets)
        lines.append(f"run.load(optimizer, {models})")
    if program.traced:
        lines.append("@run.trace")
    lines += _step_lines(program, names)
    lines += _loop_lines(program, names, optimizer)
    if program.resume_at:
        lines.append(f"run.save(optimizer, {models})")
    lines.append(f"return run.state({names})")
    return lines


def _model(net: Net) -> str:
    return f"{net.name}_model" if net.wrapped else net.name


def _net_lines(program: Program, net: Net) -> list[str]:
    made = f'{_class_name(program, net)}().to("{program.dtype}")'
    if net.norm == "sync" and net.wrapped and any(layer.kind in ("norm", "shared") for layer in net.layers):
        made = f"dist.convert_sync_batch_norm({made})"
    # What is not data-parallel is equal on all ranks because they make it from equal random numbers.
    lines = [*([] if net.wrapped else ["dt.seed(1, rank=0)"]), f"{net.name} = {made}"]
    lines += [f"{net.name}.{layer} = {program.nets[0].name}.{layer}" for layer in net.taken]
    lines += [f'{net.name}.{layer}.to("f32")' for layer in net.wide]
    lines += [f"run.freeze({net.name}.{layer})" for layer in net.frozen]
    if net.wrapped:
        option = "" if net.bucket_mb is None else f", bucket_mb={net.bucket_mb}"
        option += f", ignore_first={net.ignore_first}" if net.ignore_first else ""
        lines.append(f"{_model(net)} = run.data_parallel({net.name}{option})")
    return lines


def _step_lines(program: Program, names: str) -> list[str]:
    letters = program.used_data()
    arguments = ", ".join(f"x_{letter}, y_{letter}" for letter in letters)
    updating = program.update_every > 1
    lines = [f"def step({arguments}{', update' if updating else ''}):"]
    if not updating:
        lines.append(f"    run.zero_grad({names})")
    returned: list[str] = []
    for one in program.passes:
        inner, losses = _pass_lines(program, one, len(returned))
        returned += losses
        if one.no_sync:
            used = {name: None for term in one.terms for name in (term.net, term.then) if name}
            models = ", ".join(_model(program.net(name)) for name in used if program.net(name).wrapped)
            inner = [f"with run.no_sync({models}):", *("    " + line for line in inner)]
        if one.forgets:
            inner.insert(0, f"run.zero_grad({names})" if one.forgets == "*" else f"run.forget({one.forgets})")
        lines += ["    " + line for line in inner]
    update = ["optimizer.step()"]
    if program.clip is not None:
        update.insert(0, f"optim.clip_grad_norm_(run.trained({names}), {program.clip})")
    if updating:
        lines += ["    if update:", *("        " + line for line in update)]
    else:
        lines += ["    " + line for line in update]
    return [*lines, f"    return {', '.join(returned)},"]


def _pass_lines(program: Program, one: Pass, number: int) -> tuple[list[str], list[str]]:
    """The lines, and the names of the terms' losses."""
    lines, losses = [], [f"loss{number + i}" for i in range(len(one.terms))]
    for loss, term in zip(losses, one.terms):
        counted = f"with run.counted(y_{term.data}): " if term.loss == "tokens" else ""
        lines.append(f"{counted}{loss} = {_term(program, term)}")
        if term.evaluated:
            lines.append(f"run.evaluate({_model(program.net(term.net))})")
    penalties = [_penalty(penalty) for penalty in one.penalties]
    total = " + ".join([*losses, *penalties])
    total = f"({total})" if len(losses) + len(penalties) > 1 else total
    if one.order == "one":
        lines.append(f"{total}.backward()")
    elif one.order == "twice":
        lines += [f"total = {total}", "total.backward(retain_graph=True)", "total.backward()"]
    elif one.order == "grad":
        lines.append(f"run.set_grad({total}, {', '.join(net.name for net in program.nets)})")
    else:
        lines += [f"{loss}.backward()" for loss in (losses if one.order == "each" else reversed(losses))]
        lines += [f"({penalty}).backward()" for penalty in penalties]
    return lines, losses


def _term(program: Program, term: Term) -> str:
    output = f"{_model(program.net(term.net))}(x_{term.data})"
    if term.then:
        output = f"run.constant({output})" if term.detached else output
        output = f"{_model(program.net(term.then))}({output})"
    y = f"y_{term.data}"
    loss = {
        "mse": f"F.mse_loss({output}, {y})",
        "entropy": f"F.cross_entropy({output}, F.argmax({y}, 1))",
        "tokens": f"F.cross_entropy({output}, run.tokens({y}), ignore_index=-100)",
    }[term.loss]
    return loss if term.factor == 1 else f"{term.factor} * {loss}"


def _penalty(penalty: Penalty) -> str:
    function = "abs(p + 2)" if penalty.kind == "l1" else "(p * p)"
    if penalty.layer:
        return f"0.1 * {function.replace('p', f'{penalty.net}.{penalty.layer}.weight')}.sum()"
    return f"0.1 * sum({function}.sum() for p in {penalty.net}.parameters())"


def _loop_lines(program: Program, names: str, optimizer: str) -> list[str]:
    letters = program.used_data()
    places = [program.data.index(letter) for letter in letters]
    steps = [tuple(step[place] for place in places) for step in program.sizes]
    sizes = ", ".join(letters)
    given = ", ".join(f"sum({letter})" if program.is_whole(letter) else letter for letter in letters)
    loop = f"for i, ({sizes},) in run.steps({steps}):"
    lines = []
    for event in program.events:
        lines.append(f"    if i == {event.at}: {'; '.join(_event(program, event, names, optimizer))}")
    update = ""
    if program.update_every > 1:
        lines.append(f"    if i % {program.update_every} == 0: run.zero_grad({names})")
        update = f", i % {program.update_every} == {program.update_every - 1}"
    noted = ", ".join(_noted(program, term) for term in program.terms())
    note = f"run.note(step(*run.batch(i, {given}){update}), {noted})"
    if program.waiting or program.inside:
        models = ", ".join(_model(net) for net in program.nets if net.wrapped)
        chosen = models if program.inside else f"*([{models}] if i % {program.update_every} == 0 else [])"
        note = f"with run.no_sync({chosen}): {note}"
    return [loop, *lines, f"    {note}"] if lines or program.waiting or program.inside else [f"{loop} {note}"]


def _noted(program: Program, term: Term) -> str:
    """The sizes by which the ranks' losses count."""
    if term.loss == "tokens":
        return "None"
    return f"sum({term.data})" if program.is_whole(term.data) else term.data


def _event(program: Program, event: Event, names: str, optimizer: str) -> list[str]:
    net, model = event.net, _model(program.net(event.net))
    layer = f"{net}.{event.layer}"
    remake = [f"optimizer = {optimizer}"]
    done = {
        "freeze": [f"run.freeze({layer})"],
        "hold": [f"{layer}.requires_grad_(False)"],
        "unfreeze": [f"run.unfreeze({layer})", f"run.adopt(optimizer, {names})"],
        "late": [f'{layer} = run.parameter(0.9, "{program.dtype}")', f"run.adopt(optimizer, {names})"],
        "replace": [f"{layer}.weight = dt.Parameter({layer}.weight.numpy() * 0.5)", f"run.adopt(optimizer, {names})"],
        "still": [f"{layer}.eval()"],
        "load": [f"{model}.load_state_dict({{name: t * 0.9 for name, t in {model}.state_dict().items()}})"],
        "evaluate": [f"run.evaluate({model})"],
        "copy": [f"{model} = copy.deepcopy({model})", f"{net} = run.inner({model})", *remake],
        "pickle": [f"{model} = pickle.loads(pickle.dumps({model}))", f"{net} = run.inner({model})", *remake],
        "inner": [f"{model} = run.without_wrapper({model})"],
    }[event.kind]
    return [*done, "step = run.trace(step)"] if program.traced and event.retrace else done
