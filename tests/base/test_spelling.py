"""Every public function and constructor takes the keywords of others, by one mechanism."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import data, nn, optim
from dtrain.base import keywords, spelling


def _own_kinds(value: type) -> list[type]:
    """A class and its bases that are not public."""
    return [kind for kind in value.__mro__ if kind is value or kind.__name__.startswith("_")]


WRAPPED = {
    **{f"F.{name}": value for name, value in vars(F).items() if inspect.isfunction(value) and not name.startswith("_")},
    **{
        f"{space.__name__.partition('.')[2]}.{name}": value.__init__
        for space in (nn, optim, data)
        for name, value in vars(space).items()
        if inspect.isclass(value) and any("__init__" in vars(kind) for kind in _own_kinds(value))
    },
}
CASES = [
    (name, word)
    for name, function in WRAPPED.items()
    if (words := spelling.parameters_of(inspect.unwrap(function))) is not None
    for word in spelling.translations(name.rpartition(".")[2], words)
]


def test_there_are_many() -> None:
    assert len(CASES) > 250
    assert {name for name, _ in CASES} >= {"F.sum", "F.softmax", "nn.Softmax", "optim.LambdaLR", "data.DataLoader"}


@pytest.mark.parametrize(("name", "word"), CASES)
def test_a_keyword_of_others_reaches_its_parameter(name: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapper = WRAPPED[name]
    inner = wrapper.__wrapped__
    assert wrapper is not inner
    parameters = inspect.signature(inner).parameters
    ours = spelling.translations(name.rpartition(".")[2], tuple(parameters))[word]
    seen: dict[str, Any] = {}

    def record(*arguments: Any, **keywords: Any) -> None:
        seen.update(inspect.signature(inner).bind(*arguments, **keywords).arguments)

    required = {w: object() for w, p in parameters.items() if p.default is p.empty and w != ours}
    _compile(wrapper)
    monkeypatch.setitem(wrapper.__globals__, "_function", record)
    value = dt.Generator(3) if word == "generator" else object()
    copy = dt.Generator(3) if word == "generator" else value  # converting draws from it
    wrapper(**required, **{word: value})
    assert seen[ours] == keywords.CONVERTED.get(word, lambda given: given)(copy)
    assert all(seen[w] is given for w, given in required.items())
    # In our own spelling the same call passes straight through.
    seen.clear()
    wrapper(**required, **{ours: value})
    assert seen[ours] is value


def _compile(wrapper: Any) -> None:
    """Functions are compiled at their first call, which an error ends here before anything runs."""
    with pytest.raises(TypeError):
        wrapper(no_function_has_this_keyword=1)


X = dt.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]])


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (lambda: X.sum(dim=1), lambda: X.sum(1)),
        (lambda: X.mean(dim=0, keepdim=True), lambda: X.mean(0, keepdims=True)),
        (lambda: X.mean(1, True), lambda: X.mean(1, keepdims=True)),
        (lambda: X.var(dim=1, unbiased=False), lambda: X.var(1, correction=0)),
        (lambda: X.std(dim=1, unbiased=True), lambda: X.std(1)),
        (lambda: X.norm(p=1, dim=1), lambda: X.norm(1, 1)),
        (lambda: F.softmax(input=X, dim=1), lambda: F.softmax(X, 1)),
        (lambda: F.log_softmax(X, dim=-1), lambda: F.log_softmax(X)),
        (lambda: nn.Softmax(dim=0)(X), lambda: F.softmax(X, 0)),
        (lambda: F.cat([X, X], dim=1), lambda: F.cat([X, X], 1)),
        (lambda: F.stack(tensors=[X, X], dim=2), lambda: F.stack([X, X], 2)),
        (lambda: X.flatten(start_dim=0, end_dim=1), lambda: X.flatten()),
        (lambda: F.clip(X, min=2, max=3), lambda: F.clip(X, 2, 3)),
        (lambda: F.roll(X, shifts=1, dims=0), lambda: F.roll(X, 1, 0)),
        (lambda: F.pad(input=X, pad=(1, 1)), lambda: F.pad(X, (1, 1))),
        (lambda: F.atan2(input=X, other=X + 1), lambda: F.atan2(X, X + 1)),
        (lambda: F.mse_loss(input=X, target=X + 1), lambda: F.mse_loss(X, X + 1)),
        (
            lambda: F.cross_entropy(input=X, target=dt.tensor([0, 2])),
            lambda: F.cross_entropy(X, dt.tensor([0, 2])),
        ),
        (lambda: F.relu(X - 3, inplace=True), lambda: F.relu(X - 3)),
        (lambda: F.dropout(X, 0.5, False), lambda: X),
        (lambda: F.full(size=(2,), fill_value=3.0), lambda: F.full((2,), 3.0)),
        (lambda: F.linspace(start=0, end=1, steps=3), lambda: F.linspace(0, 1, 3)),
        (lambda: X.to(device="cpu", non_blocking=True), lambda: X),
        (lambda: X.to(dtype=dt.float64), lambda: X.to("f64")),
        (lambda: X.gather(dim=1, index=dt.tensor([[0], [1]])), lambda: X.gather(1, dt.tensor([[0], [1]]))),
        (lambda: X.size(dim=1), lambda: 3),
        (lambda: nn.ReLU(True)(X), lambda: X),
    ],
)
def test_both_spellings_give_the_same(theirs: Any, ours: Any) -> None:
    first, second = theirs(), ours()
    if isinstance(second, dt.Tensor):
        assert first.type is second.type and bool((first == second).all())
    else:
        assert first == second


def test_constructors_take_options_by_position_and_others_words() -> None:
    assert nn.Linear(4, 3, False).bias is None
    assert nn.Conv2d(1, 2, 3, 1, 0, 1, 1, False).bias is None
    assert nn.LayerNorm(4, elementwise_affine=False).weight is None
    assert nn.PReLU(init=0.5).weight.item() == 0.5
    layer = nn.TransformerEncoderLayer(d_model=8, nhead=2, dim_feedforward=16)
    optimizer = optim.SGD(layer.parameters(), 0.1, 0.9, foreach=True)
    assert optimizer.param_groups[0]["momentum"] == 0.9
    assert optim.CosineAnnealingLR(optimizer, T_max=10).period == 10
    assert optim.LambdaLR(optimizer, lr_lambda=lambda step: 0.5).get_last_lr() == [0.05]
    loader = data.DataLoader(
        data.Digits(), 4, True, collate_fn=data.collate, pin_memory=True, persistent_workers=True, prefetch_factor=3
    )
    assert loader.prefetch == 3
    optimizer.zero_grad(set_to_none=True)
    layer.zero_grad(set_to_none=True)


def test_methods_of_modules_take_options_by_position() -> None:
    layer = nn.Linear(2, 2)
    layer.register_buffer("seen", dt.zeros(1), False)
    assert "seen" not in layer.state_dict() and "seen" in dict(layer.named_buffers(recurse=True))
    assert layer.load_state_dict({}, False).missing == ["weight", "bias"]


def test_subclasses_may_use_others_words_too() -> None:
    class Wide(nn.Softmax):
        def __init__(self) -> None:
            super().__init__(dim=0)

    assert Wide().axis == 0


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: X.sum(1, dim=0), TypeError, "one of axis and dim, got both"),
        (lambda: F.softmax(X, dims=1, dim=0), TypeError, "one of axis and dim, got both"),
        (lambda: F.softmax(), TypeError, "expected x, got nothing"),
        (lambda: X.gather(dim=1), TypeError, "expected index, got nothing"),
        (lambda: F.sum(X, keepdms=True), TypeError, "did you mean keepdims"),
        (lambda: nn.Linear(4, 3, biass=False), TypeError, "did you mean bias"),
        (lambda: optim.SGD(nn.Linear(2, 2).parameters(), 0.1).zero_grad(set_to_none=False), ValueError, "None after"),
        (lambda: nn.Conv2d(1, 1, 1, padding_mode="reflect"), ValueError, "F.pad"),
        (lambda: data.DataLoader(data.Digits(), multiprocessing_context="spawn"), ValueError, "workers are forked"),
        (lambda: nn.Softmax(1, device="cpu"), TypeError, "move it with"),
        (lambda: F.relu(X, dtype="f64"), TypeError, "cast it with"),
        (lambda: nn.Linear(3, 2).parameters(recurse=False), ValueError, "members"),
        (lambda: X.backward(create_graph=True), ValueError, "dt.grad"),
        (lambda: X.to(), TypeError, "a dtype, a device or a tensor"),
    ],
)
def test_what_cannot_be_meant_is_said(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_an_input_that_should_change_in_place_is_not_lost() -> None:
    """`F.relu(x, inplace=True)` alone changes x in PyTorch; here nothing would happen."""
    relu = nn.ReLU(inplace=True)
    for call in (lambda: F.relu(X, inplace=True), lambda: relu(X)):
        assert call().shape == X.shape
        with pytest.raises(TypeError, match="does not change here"):
            call()
    with pytest.raises(TypeError, match="does not change here"):
        F.relu(X, inplace=True)
    with pytest.raises(TypeError, match="does not change here"):
        relu(X)
    with pytest.raises(TypeError, match="does not change here"):
        nn.Dropout(0.5, True)(X)
    assert float(nn.Sequential(relu, relu)(X).sum()) == 22


def test_signatures_and_docstrings_are_those_of_the_function() -> None:
    assert list(inspect.signature(F.sum).parameters) == ["x", "axis", "keepdims", "dtype"]
    assert list(inspect.signature(nn.Linear).parameters) == ["in_features", "out_features", "bias"]
    assert (F.sum.__name__, F.sum.__doc__) == ("sum", inspect.unwrap(F.sum).__doc__)


def test_operators_are_not_wrapped() -> None:
    assert not hasattr(dt.Tensor.__add__, "__wrapped__")


def test_a_generator_seeds_what_takes_a_seed() -> None:
    """As in PyTorch: equal generators give equal parts, and a second use of one gives others."""

    split: Any = data.random_split

    def parts(generator: dt.Generator | None) -> list[int]:
        return list(split(range(40), [30, 10], generator=generator)[0].indices)

    generator = dt.Generator(1)
    first, second = parts(generator), parts(generator)
    assert first == parts(dt.Generator().manual_seed(1)) != second and sorted(first) != first
    assert parts(None) == list(split(range(40), [30, 10])[0].indices)

    loader: Any = data.DataLoader

    def order(seed: int) -> list[int]:
        batch = next(iter(loader(range(20), 20, shuffle=True, generator=dt.Generator(seed))))
        return list(batch.tolist())

    assert order(1) == order(1) != order(2) and sorted(order(1)) == list(range(20))
    with pytest.raises(TypeError, match="a number is seed="):
        split(range(40), [30, 10], generator=1)


@pytest.mark.parametrize(
    ("old", "reduction"),
    [
        ({"size_average": False}, "sum"), ({"size_average": True}, "mean"), ({"size_average": None}, "mean"),
        ({"reduce": False}, "none"), ({"reduce": True}, "mean"),
    ],
)  # fmt: skip
def test_the_old_keywords_of_losses(old: dict[str, Any], reduction: Any) -> None:
    scores, labels = dt.tensor([[1.0, 2.0], [0.5, -1.0]]), dt.tensor([1, 0])
    wanted = F.cross_entropy(scores, labels, reduction=reduction).tolist()
    assert F.cross_entropy(scores, labels, **old).tolist() == wanted
    assert nn.CrossEntropyLoss(**old)(scores, labels).tolist() == wanted
    assert (
        F.mse_loss(scores, scores * 2, **old).tolist() == F.mse_loss(scores, scores * 2, reduction=reduction).tolist()
    )
    with pytest.raises(TypeError, match="one of reduction and"):
        F.nll_loss(scores, labels, reduction="sum", **old)


def test_names_of_modules_and_results() -> None:
    found = nn.Linear(2, 2).load_state_dict({"other": dt.ones(1)}, strict=False)
    assert (found.missing_keys, found.unexpected_keys) == (["weight", "bias"], ["other"])
    assert nn.Identity(54, unused=False)(X) is X
    with pytest.raises(TypeError, match="diagonal"):
        dt.trace(dt.eye(3))  # type: ignore[call-overload]


def test_the_state_of_random_numbers_goes_back() -> None:
    state = dt.get_rng_state()
    drawn = dt.rand(3).tolist()
    assert dt.rand(3).tolist() != drawn
    dt.set_rng_state(state)
    assert dt.rand(3).tolist() == drawn
