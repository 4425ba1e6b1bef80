"""The table of names: every alias works, every hint appears, no row is dead, and nothing named is missing here."""

from __future__ import annotations

import importlib
import re
from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import collectives as dist
from dtrain import nn, optim
from dtrain.base import names

PLACES: dict[str, Any] = {
    **{place: importlib.import_module(module) for place, module in names._MODULES.items()},
    "Tensor": dt.Tensor,
    "Module": nn.Module,
}
ALIASES = [(place, word) for place, words in names.ALIASES.items() for word in words]
HINTS = [(place, word) for place, words in names.HINTS.items() for word in words]


def instance(place: str) -> Any:
    """What a user writes the word behind."""
    return {"Tensor": dt.zeros(2, 2), "Module": nn.Linear(2, 2)}.get(place, PLACES[place])


@pytest.mark.parametrize(("place", "word"), ALIASES)
def test_an_alias_is_what_it_stands_for(place: str, word: str) -> None:
    target = names.resolve(names.ALIASES[place][word])
    found = getattr(PLACES[place], word)
    assert found is not None
    if place != "Tensor":
        assert found is target or found == target
    elif getattr(found, "__module__", "").startswith("dtrain.ops"):
        assert found.__doc__


@pytest.mark.parametrize(("place", "word"), HINTS)
def test_a_hint_appears(place: str, word: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(instance(place), word)
    assert names.HINTS[place][word] in str(caught.value) and word in str(caught.value)


@pytest.mark.parametrize(("place", "word"), HINTS)
def test_what_a_hint_says_to_write_exists(place: str, word: str) -> None:
    for head, path in re.findall(r"\b(dt|F|nn|optim|data|dist|x|model)\.([a-zA-Z_.]+)", names.HINTS[place][word]):
        found = {"x": dt.zeros(2), "model": nn.Linear(1, 1)}.get(head, PLACES.get(head))
        for part in path.strip(".").split("."):
            found = getattr(found, part)
            assert found is not None or part == "grad", (word, path)


@pytest.mark.parametrize("word", ["LSTM", "CTCLoss"])
def test_an_import_keeps_the_hint(word: str) -> None:
    """`from dtrain.nn import LSTM` would say no more than "cannot import name"."""
    with pytest.raises(ImportError, match=re.escape(names.HINTS["nn"][word])):
        exec(f"from dtrain.nn import {word}", {})
    assert not hasattr(nn, word)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: dt.zeros(2).relu6, "x.relu6: write F.relu6"),
        (lambda: nn.relu, "nn.relu: write F.relu"),
        (lambda: F.Linear, "F.Linear: write nn.Linear"),
        (lambda: dt.zeros(2).shpe, "did you mean shape"),
        (lambda: dt.tensr, "did you mean tensor"),
        (lambda: optim.SDG, "did you mean SGD"),
        (lambda: dist.allreduce, "write dist.all_reduce"),
        (lambda: dist.all_redcue, "did you mean all_reduce"),
        (lambda: nn.Linear(2, 2).wieght, "did you mean weight"),
        (lambda: nn.Linear(2, 2).no_sync, "model = dist.data_parallel(model)"),
    ],
)
def test_words_outside_of_the_table_find_the_nearest(call: Any, text: str) -> None:
    with pytest.raises(AttributeError, match=re.escape(text)):
        call()


def test_copies_and_pickles_ask_in_vain_as_before() -> None:
    import copy
    import pickle

    layer = nn.Linear(2, 2)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert bool((twin.weight == layer.weight).all())
    tensor = dt.zeros(2, 2)
    assert copy.deepcopy(tensor).shape == pickle.loads(pickle.dumps(tensor)).shape == (2, 2)
    assert not hasattr(tensor, "__array_interface__")


X = np.arange(6, dtype=np.float32).reshape(2, 3) - 2


@pytest.mark.parametrize(
    ("theirs", "wanted"),
    [
        (lambda x: x.size(0), 2),
        (lambda x: x.size(-1), 3),
        (lambda x: x.size(), (2, 3)),
        (lambda x: x.size, 6),
        (lambda x: x.size + 1, 7),
        (lambda x: (x.numel(), x.nelement(), x.dim(), x.ndimension()), (6, 6, 2, 2)),
        (lambda x: dt.numel(x), 6),
        (lambda x: x.float().double().half().dtype is dt.float16, True),
        (lambda x: x.long().dtype is dt.int64 and x.int().dtype is dt.int32 and x.bool().dtype is dt.bool_, True),
        (lambda x: x.cpu() is x and x.contiguous() is x and x.is_cuda is False, True),
        (lambda x: x.t().contiguous().numpy().flags.c_contiguous, True),
        (lambda x: x.view(3, 2), X.reshape(3, 2)),
        (lambda x: x.view(-1).view_as(x), X),
        (lambda x: x.t(), X.T),
        (lambda x: x.mm(x.t()), X @ X.T),
        (lambda x: x.clamp(min=0), X.clip(0)),
        (lambda x: x.clamp_min(1).clamp_max(2), X.clip(1, 2)),
        (lambda x: x.masked_fill(x > 0, -1e9), np.where(X > 0, np.float32(-1e9), X)),
        (lambda x: x.eq(1), X == 1),
        (lambda x: x.ge(1).logical_and(x.lt(3)), (X >= 1) & (X < 3)),
        (lambda x: x.add(x).sub(1).mul(2).div(4), (2 * X - 1) / 2),
        (lambda x: x.repeat(2, 1), np.tile(X, (2, 1))),
        (lambda x: x.repeat(2, 1, 2), np.tile(X, (2, 1, 2))),
        (lambda x: x.repeat_interleave(2, dim=1), X.repeat(2, 1)),
        (lambda x: x.select(1, 0), X[:, 0]),
        (lambda x: x.unflatten(1, (3, 1)), X.reshape(2, 3, 1)),
        (lambda x: x.where(x > 0, 0.0), X.clip(0)),
        (lambda x: x.equal(x), True),
        (lambda x: dt.equal(x, x + 1), False),
        (lambda x: dt.allclose(x, x + 1e-9), True),
        (lambda x: x.trunc(), np.trunc(X)),
        (lambda x: (x * 0.7).frac(), X * np.float32(0.7) - np.trunc(X * np.float32(0.7))),
        (lambda x: dt.hypot(x, x), np.hypot(X, X)),
        (lambda x: x.exp2(), np.exp2(X)),
        (lambda x: x.remainder(2), np.mod(X, 2)),
        (lambda x: x.type_as(dt.zeros(1, dtype=dt.float64)).dtype is dt.float64, True),
        (lambda x: dt.cat([x, x], dim=0), np.concatenate([X, X])),
        (lambda x: dt.hstack([x, x]), np.hstack([X, X])),
        (lambda x: dt.vstack([x[0], x[1]]), np.vstack([X[0], X[1]])),
        (lambda x: dt.lerp(x, x + 2, 0.5), X + 1),
        (lambda x: dt.addmm(x, x, dt.eye(3), alpha=2), 3 * X),
        (lambda x: dt.bmm(x.unsqueeze(0), x.t().unsqueeze(0)), (X @ X.T)[None]),
        (lambda x: dt.var_mean(x, dim=1)[1], X.mean(1)),
        (lambda x: dt.count_nonzero(x), 5),
        (lambda x: dt.isclose(dt.tensor([1.0, float("inf")]), dt.tensor([1.0, float("inf")])), np.array([True, True])),
        (lambda x: dt.meshgrid(x[0], x[1], indexing="xy")[0], np.meshgrid(X[0], X[1])[0]),
        (lambda x: dt.from_numpy(X).numpy() is X, True),
        (lambda x: dt.is_tensor(x) and not dt.is_tensor(X), True),
        (lambda x: dt.randn(2, 3).shape == dt.rand((2, 3)).shape == dt.empty(2, 3).shape, True),
        (lambda x: dt.randn_like(x).type is x.type, True),
        (lambda x: dt.zeros(2, requires_grad=True).requires_grad, True),
        (lambda x: dt.randint(5, (4,)).shape, (4,)),
        (lambda x: sorted(dt.randperm(4).tolist()), [0, 1, 2, 3]),
        (lambda x: nn.functional is F and dt.distributed is dist, True),
        (lambda x: (x.device.type, dt.device("cuda", 1).type, dt.device("cuda", 1).index), ("cpu", "cuda", 1)),
        (lambda x: dt.device("cpu") is x.device, True),
        (lambda x: x.to("cpu", dt.float64).dtype is dt.float64, True),
        (lambda x: x.to(device="cpu", dtype=dt.float16).dtype is dt.float16, True),
        (lambda x: x.to(dt.zeros(1, dtype=dt.int64)).dtype is dt.int64, True),
        (lambda x: x.to("f32") is x and x.to(x) is x, True),
        (lambda x: dt.finfo(dt.float32).max == np.finfo(np.float32).max and dt.iinfo("s8").min == -128, True),
        (lambda x: float(dt.finfo("bf16").eps), 2.0**-7),
        (lambda x: (dt.inf, dt.pi), (float("inf"), np.pi)),
        (lambda x: x.norm(p="fro"), np.linalg.norm(X).reshape(())),
        (lambda x: dist.group.WORLD, None),
        (lambda x: dt.cuda.is_available() == dt.is_cuda_available(), True),
    ],
)
def test_words_of_everyday_scripts(theirs: Any, wanted: Any) -> None:
    result = theirs(dt.tensor(X))
    if isinstance(wanted, np.ndarray):
        assert result.shape == wanted.shape
        np.testing.assert_allclose(result.numpy(), wanted, rtol=1e-6)
    else:
        assert (result.item() if isinstance(result, dt.Tensor) else result) == wanted


def test_a_seed_gives_the_numbers_of_rank_0_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    dt.manual_seed(3)
    first = dt.rand(4).tolist()
    monkeypatch.setenv("DTRAIN_RANK", "1")
    monkeypatch.setenv("DTRAIN_WORLD_SIZE", "2")
    dt.manual_seed(3)
    assert dt.rand(4).tolist() == first
    dt.seed(3)
    assert dt.rand(4).tolist() != first


def test_modules_move_by_verbs() -> None:
    layer = nn.Sequential(nn.Linear(2, 2))
    assert layer.double() is layer and layer[0].weight.dtype is dt.float64
    assert layer.float().cpu()[0].weight.dtype is dt.float32
    layer.add_module("extra", nn.Linear(2, 1))
    assert "extra.weight" in layer.state_dict() and layer.extra(dt.zeros(1, 2)).shape == (1, 1)
    with pytest.raises(TypeError, match=re.escape("write x.to(dtype)")):
        layer[0].weight.type(dt.float64)
