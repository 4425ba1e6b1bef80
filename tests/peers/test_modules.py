"""Every module of PyTorch's database that exists here: results and gradients with the same parameters."""

from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'dtrain[peers]'")
pytest.importorskip("expecttest", reason="expecttest is not installed: pip install 'dtrain[peers]'")

import dtrain as dt
from dtrain import nn
from peers import agreed
from peers.compare import difference
from peers.exchange import NotOurs, leaves_of, map_structure, quietly, to_ours
from peers.judge import NO_SUCH_ARGUMENT, our_gradients, weight_like
from peers.tally import AGREED, DIFFERENT, EQUAL, MISSING, REFUSED, TALLY, UNLISTED

module_db = quietly(__import__, "torch.testing._internal.common_modules", fromlist=["module_db"]).module_db
OURS = [info for info in module_db if isinstance(getattr(nn, info.name.rpartition(".")[2], None), type)]

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluating"])
@pytest.mark.parametrize("info", OURS, ids=lambda info: info.name)
def test_modules_compute_the_same(info: Any, training: bool) -> None:
    failures = []
    for dtype in (torch.float64, torch.float32):
        torch.manual_seed(1)
        for given in quietly(info.module_inputs_func, info, "cpu", dtype, True, training):
            if given.forward_input is None:
                continue
            way, why = judge(info, given, dtype, training)
            if way == UNLISTED and (reason := agreed.reason_of(agreed.REFUSED_BY_MODULES, info.name, why)):
                way, why = REFUSED, reason
            if way == DIFFERENT and (reason := agreed.reason_of(agreed.DIFFERENT_MODULES, info.name, why)):
                way, why = AGREED, reason
            TALLY.note("modules", way, f"{info.name}: {why}")
            if way in (DIFFERENT, UNLISTED):
                failures.append(f"{dtype} {words(given)}: {way}: {why}")
    if failures:
        pytest.fail("\n".join([f"{len(failures)} of {info.name}", *failures[:12]]), pytrace=False)


def words(given: Any) -> str:
    shapes = [list(leaf.shape) for leaf in leaves_of(list(given.forward_input.args), torch.Tensor)]
    return f"{given.constructor_input.args}, {given.constructor_input.kwargs} of {shapes}"


def judge(info: Any, given: Any, dtype: torch.dtype, training: bool) -> tuple[str, str]:
    """How a module with one set of arguments comes out, and why in words."""
    made, called = given.constructor_input, given.forward_input
    theirs = quietly(info.module_cls, *made.args, **made.kwargs).to(dtype).train(training)
    inputs = leaves_only([list(called.args), dict(called.kwargs)])
    try:
        mine = to_ours(inputs)
        arguments, keywords = to_ours([list(made.args), dict(made.kwargs)])
    except NotOurs as error:
        return MISSING, str(error)
    try:
        ours = getattr(nn, info.name.rpartition(".")[2])(*arguments, **keywords)
        ours.to(to_ours(dtype)).train(training)
        ours.load_state_dict({name: to_ours(value.detach()) for name, value in theirs.state_dict().items()})
        result = ours(*mine[0], **mine[1])
    except Exception as error:
        absent = NO_SUCH_ARGUMENT.search(str(error)) if isinstance(error, TypeError) else None
        if absent:
            return MISSING, absent[0]
        return UNLISTED, f"{type(error).__name__}: {error}"
    right = quietly(theirs, *inputs[0], **inputs[1])
    exact = copy.deepcopy(theirs).double()
    apart = difference(result, right, lambda: quietly(exact, *doubled(inputs[0]), **doubled(inputs[1])))
    if apart:
        return DIFFERENT, apart
    apart = gradients_apart((theirs, inputs, right), (ours, mine, result))
    apart = apart or states_apart(theirs, ours)
    return (DIFFERENT, apart) if apart else (EQUAL, "")


def leaves_only(value: Any) -> Any:
    """The same tensors as leaves: some samples are computed from one another."""
    if isinstance(value, torch.Tensor):
        return value.detach().requires_grad_(value.requires_grad)
    return map_structure(leaves_only, value)


def doubled(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().double() if value.dtype.is_floating_point else value
    return map_structure(doubled, value)


def gradients_apart(right: Any, mine: Any) -> str:
    """What differs between the gradients of parameters and inputs, in words."""
    theirs, inputs, outputs = right
    parameters = dict(theirs.named_parameters())
    own = dict(mine[0].named_parameters())
    if set(parameters) != set(own):
        return f"parameters {sorted(own)}, theirs {sorted(parameters)}"
    names = [name for name, value in parameters.items() if value.requires_grad]
    wanted = [leaf for leaf in leaves_of(inputs, torch.Tensor) if leaf.requires_grad]
    wanted += [parameters[name] for name in names]
    results = [leaf for leaf in leaves_of(outputs, torch.Tensor) if leaf.requires_grad]
    if not wanted or not results:
        return ""
    weights = [torch.from_numpy(weight_like(leaf)).to(leaf.dtype) for leaf in results]
    slopes = quietly(torch.autograd.grad, results, wanted, weights, allow_unused=True)
    others = [torch.zeros_like(leaf) if slope is None else slope for slope, leaf in zip(slopes, wanted)]
    leaves = [leaf for leaf in leaves_of(mine[1], dt.Tensor) if leaf.requires_grad] + [own[name] for name in names]
    apart = difference(our_gradients((leaves, mine[2]), weights), others)
    return f"gradient: {apart}" if apart else ""


def states_apart(theirs: Any, ours: Any) -> str:
    """What differs between running values after the call, in words."""
    mine, other = ours.state_dict(), theirs.state_dict()
    for name, value in other.items():
        if name.endswith("num_batches_tracked"):  # counted here where momentum is None: nothing else needs it
            continue
        if name not in mine:
            return f"no state {name}"
        if value.dtype.is_floating_point and (apart := difference(dt.as_tensor(mine[name]), value.detach())):
            return f"{name}: {apart}"
    return ""
