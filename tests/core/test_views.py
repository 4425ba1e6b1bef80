"""What shows a tensor changes it when written into, what is a copy does not: every function that is one or the other.

Which elements a function shows is read off its result on the numbers 0, 1, 2, …: it is its own oracle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.cuda_emulation import emulated_module
from helpers.cuda_emulation.emulated_cupy import emulated_cuda

import dtrain as dt
import dtrain.functional as F
from dtrain import nn
from dtrain.base.errors import ShapeError, TraceError

SHAPE = (3, 4, 3)
View = Callable[[Any], Any]

VIEWS: dict[str, View] = {
    "diagonal": lambda y: y.diagonal(),
    "diagonal above, of the last axes": lambda y: y.diagonal(1, 1, 2),
    "diagonal below, axes exchanged": lambda y: F.diagonal(y, -1, 2, 0),
    "diagonal from the end": lambda y: y.diagonal(dim1=-2, dim2=-1),
    "diagonal outside": lambda y: y.diagonal(7),
    "diagonal of a transposed": lambda y: y.transpose(0, 1).diagonal(1),
    "diagonal of a slice": lambda y: y[:, ::2].diagonal(0, 1, 2),
    "slice of a diagonal": lambda y: y.diagonal(0, 0, 2)[1:, 0],
    "reshaped diagonal": lambda y: y.diagonal(0, 0, 2).unsqueeze(1),
    "diagonal of a diagonal": lambda y: y.diagonal(0, 0, 2).diagonal(),
    "int": lambda y: y[1],
    "ints": lambda y: y[1, 2, -1],
    "slice": lambda y: y[1:],
    "steps": lambda y: y[::2, ::-1],
    "ellipsis": lambda y: y[..., 0],
    "everything": lambda y: y[:],
    "None": lambda y: y[:, None, 1:3],
    "empty": lambda y: y[3:],
    "narrow": lambda y: y.narrow(1, 1, 2),
    "select": lambda y: y.select(1, 2),
    "split": lambda y: y.split(2, 1)[1],
    "split in parts": lambda y: y.split([1, 2, 1], 1)[1],
    "tensor_split": lambda y: y.tensor_split(2, 1)[1],
    "chunk": lambda y: y.chunk(2, 1)[0],
    "unbind": lambda y: y.unbind(1)[3],
    "iteration": lambda y: list(y)[2],
    "unpacking": lambda y: [*y[0]][1],
    "expand": lambda y: y.expand(1, 1, *SHAPE),
    "expand by -1": lambda y: y.expand(-1, -1, -1),
    "expand_as": lambda y: y.expand_as(y),
    "broadcast_to": lambda y: F.broadcast_to(y, (1, *SHAPE)),
    "unsqueeze": lambda y: y.unsqueeze(-1),
    "squeeze": lambda y: y[:1].squeeze(0),
    "squeeze of a transposed": lambda y: y.transpose(0, 2)[:, 1:2].squeeze(),
    "reshape": lambda y: y.reshape(6, -1),
    "view": lambda y: y.view(-1),
    "view of a slice": lambda y: y[1:].view(-1, 2),
    "view of exchanged axes of one": lambda y: y[:1].transpose(0, 1).view(4, 3),
    "view_as": lambda y: y.view_as(dt.zeros(9, 4)),
    "reshape_as": lambda y: y.reshape_as(dt.zeros(9, 4)),
    "flatten": lambda y: y.flatten(1),
    "nn.Flatten": lambda y: nn.Flatten()(y),
    "ravel": lambda y: y.ravel(),
    "unflatten": lambda y: y.unflatten(1, (2, 2)),
    "unflatten of a transposed": lambda y: y.transpose(0, 1).unflatten(0, (2, 2)),
    "T": lambda y: y.T,
    "mT": lambda y: y.mT,
    "t": lambda y: y[0].t(),
    "transpose": lambda y: y.transpose(0, 2),
    "permute": lambda y: y.permute(2, 0, 1),
    "swapaxes": lambda y: y.swapaxes(0, 1),
    "swap_axes": lambda y: F.swap_axes(y, 0, 1),
    "movedim": lambda y: y.movedim(0, -1),
    "moved and back": lambda y: y.movedim(0, -1).movedim(-1, 0).reshape(-1),
    "contiguous": lambda y: y.contiguous(),
    "to": lambda y: y.to("f32"),
    "float": lambda y: y.float(),
    "plus": lambda y: +y,
    "dropout": lambda y: F.dropout(y, 0.5, training=False),
    "Identity": lambda y: nn.Identity()(y),
}
# The elements without the history.
DETACHED: dict[str, View] = {"detach": lambda y: y.detach(), "data": lambda y: y.data}

COPIES: dict[str, View] = {
    "clone": lambda y: y.clone(),
    "diag": lambda y: y[0].diag(),
    "diagonal_scatter": lambda y: F.diagonal_scatter(y, y.diagonal()),
    "flip": lambda y: y.flip(0),
    "flip of nothing": lambda y: y.flip(()),
    "roll": lambda y: y.roll(1, 0),
    "roll by 0": lambda y: y.roll(0, 0),
    "roll around": lambda y: y.roll(6, 0),
    "roll of all": lambda y: y.roll(36),
    "pad by 0": lambda y: F.pad(y, (0, 0)),
    "pad by 0, reflected": lambda y: F.pad(y, (0, 0), mode="reflect"),
    "pad that cuts": lambda y: F.pad(y, (-1, 0)),
    "pad that cuts, replicated": lambda y: F.pad(y, (0, -1), mode="replicate"),
    "tile once": lambda y: F.tile(y, 1),
    "tile": lambda y: F.tile(y[:1, :1, :1], (1, 3, 1)),
    "repeat once": lambda y: y.repeat(1, 1, 1),
    "repeat of one element": lambda y: y[0, 0, :1].repeat(3),
    "repeat_interleave": lambda y: y.repeat_interleave(1, 0),
    "repeat_interleave of one": lambda y: y[:1].repeat_interleave(3, 0),
    "index by a tensor": lambda y: y[dt.tensor([0, 1, 2])],
    "index_select": lambda y: y.index_select(0, dt.tensor([1])),
    "gather": lambda y: y.gather(0, dt.zeros(SHAPE, dtype="s64")),
    "concat of one": lambda y: F.concat([y]),
    "stack of one": lambda y: F.stack([y]),
    "diff of nothing": lambda y: y.diff(0),
    "tril": lambda y: F.tril(y, 9),
    "sum over no axis": lambda y: F.sum(y, ()),
    "other dtype": lambda y: y.to("f64"),
    "reshape of a transposed": lambda y: y.T.reshape(-1),
    "flatten of a transposed": lambda y: y.T.flatten(),
    "contiguous of a transposed": lambda y: y.T.contiguous(),
    "contiguous of a diagonal": lambda y: y.diagonal().contiguous(),
    "abs": lambda y: y.abs(),
    "clip": lambda y: y.clip(-1e9, 1e9),
    "kthvalue": lambda y: y.kthvalue(1, 0).values,
    "pixel_shuffle by 1": lambda y: F.pixel_shuffle(y, 1),
    "pixel_unshuffle by 1": lambda y: F.pixel_unshuffle(y, 1),
    "interpolate to the same size": lambda y: F.interpolate(y, size=y.shape[2:]),
    "interpolate to the same size, linear": lambda y: F.interpolate(y, size=y.shape[2:], mode="linear"),
}
COPIES_OF_INTEGERS: dict[str, View] = {
    name: lambda y, name=name: getattr(y, name)() for name in ("floor", "ceil", "round", "trunc", "abs", "nan_to_num")
}

WRITES: dict[str, Callable[[Any], Any]] = {
    "mul_": lambda v: v.mul_(3.0),
    "*=": lambda v: v.__imul__(3.0),
    "[...] =": lambda v: v.__setitem__(..., v.detach() * 3.0),
    "[...] *=": lambda v: v.__setitem__(..., v[...].mul_(3.0)),
    "copy_": lambda v: v.copy_(v.detach() * 3.0),
    "assign_": lambda v: v.assign_(v.detach() * 3.0),
    "fill_": lambda v: v.fill_(3.0),
    "zero_": lambda v: v.zero_(),
}


def numbers() -> np.ndarray:
    return np.arange(36, dtype=np.float32).reshape(SHAPE)


def factors(view: View) -> np.ndarray:
    """3 where the function shows an element, 1 elsewhere."""
    found = np.ones(36, np.float32)
    found[view(dt.tensor(numbers())).numpy().astype(np.int64)] = 3
    return found.reshape(SHAPE)


def written(view: View, write: Callable[[Any], Any], *, traced: bool) -> tuple[np.ndarray, np.ndarray]:
    """A tensor after a write into what a function shows of it, and what the function shows then."""

    def change(x: dt.Tensor) -> tuple[dt.Tensor, dt.Tensor]:
        y = x + 1.0
        part = view(y)
        write(part)
        return y, part

    y, part = (dt.trace(change) if traced else change)(dt.tensor(numbers()))
    return y.numpy(), part.numpy()


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("name", VIEWS)
def test_writes_into_views_change_the_whole(name: str, traced: bool) -> None:
    places = factors(VIEWS[name]) == 3
    for word in ("[...] *=", "zero_") if traced else WRITES:
        y, part = written(VIEWS[name], WRITES[word], traced=traced)
        new = {"fill_": np.float32(3.0), "zero_": np.float32(0.0)}.get(word, (numbers() + 1) * 3)
        assert np.array_equal(y, np.where(places, new, numbers() + 1)), word
        assert np.array_equal(part, VIEWS[name](dt.tensor(y)).numpy()), word


@pytest.mark.parametrize("name", DETACHED)
def test_writes_into_detached_tensors_change_the_whole(name: str) -> None:
    for word, write in WRITES.items():
        y, _ = written(DETACHED[name], write, traced=False)
        wanted = {"fill_": np.full(SHAPE, 3.0), "zero_": np.zeros(SHAPE)}.get(word, (numbers() + 1) * 3)
        assert np.array_equal(y, wanted), word
        with pytest.raises(TraceError, match="overwritten in place since"):
            written(DETACHED[name], write, traced=True)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("name", COPIES)
def test_writes_into_copies_leave_the_whole_alone(name: str, traced: bool) -> None:
    for word in ("mul_",) if traced else WRITES:
        y, part = written(COPIES[name], WRITES[word], traced=traced)
        assert np.array_equal(y, numbers() + 1), word
        fresh = COPIES[name](dt.tensor(numbers() + 1)).numpy()
        assert np.array_equal(part, {"fill_": 0 * fresh + 3, "zero_": 0 * fresh}.get(word, fresh * 3)), word


@pytest.mark.parametrize("name", COPIES_OF_INTEGERS)
def test_functions_that_leave_integers_as_they_are_give_copies(name: str) -> None:
    x = dt.tensor([1, 2, 3])
    COPIES_OF_INTEGERS[name](x).mul_(3)
    assert x.tolist() == [1, 2, 3]


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("name", VIEWS)
def test_gradients_of_what_was_written_through_views(name: str, traced: bool) -> None:
    """Of Σ c·(f·x)² with f = 3 where the view lies, else 1: 2·c·f²·x, and its own slope."""
    f, weights = factors(VIEWS[name]), np.arange(1, 37, dtype=np.float32).reshape(SHAPE)
    x = dt.Parameter(numbers() + 1)
    c = dt.tensor(weights)

    def step() -> tuple[dt.Tensor, ...]:
        y = x * 1.0
        VIEWS[name](y).mul_(3.0)
        first = dt.grad((y * y * c).sum(), [x], create_graph=True)[0]
        return first, dt.grad((first * c).sum(), [x])[0]

    first, second = (dt.trace(step) if traced else step)()
    np.testing.assert_allclose(first.detach().numpy(), 2 * weights * f**2 * (numbers() + 1), rtol=1e-5)
    np.testing.assert_allclose(second.numpy(), 2 * weights**2 * f**2, rtol=1e-5)


def test_the_part_that_is_written_takes_the_gradient() -> None:
    x, w = dt.Parameter(numbers()[0, :3]), dt.Parameter([5.0, 6.0, 7.0])
    y = x * 2
    y.diagonal().copy_(w * 3)
    ((y * y).sum() + y.diagonal().sum()).backward()
    of_y = 8 * x.detach().numpy()
    np.fill_diagonal(of_y, 0)
    assert np.array_equal(x.grad.numpy(), of_y)
    assert w.grad.tolist() == [2 * 9 * value + 3 for value in (5, 6, 7)]


def test_a_view_of_a_leaf_is_refused_but_under_no_grad() -> None:
    p = dt.Parameter(np.ones((3, 3), np.float32))
    with pytest.raises(RuntimeError, match="a view of a leaf that requires gradients"):
        p.diagonal().zero_()
    with dt.no_grad():
        p.diagonal().zero_()
    assert p.tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]


def test_an_old_diagonal_has_the_history_of_the_present() -> None:
    x = dt.Parameter(numbers()[0, :3])
    y = x * 1.0
    part = y.diagonal()
    y *= 2.0
    part.sum().backward()
    assert x.grad.tolist() == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]


@pytest.mark.parametrize("traced", [False, True])
def test_what_cannot_be_shown_is_refused(traced: bool) -> None:
    def run(view: View, kind: type[Exception], match: str) -> None:
        with pytest.raises(kind, match=match):
            written(view, WRITES["zero_"], traced=traced)

    run(lambda y: y.T.view(-1), ShapeError, r"x\.view\(\): expected a tensor whose elements lie in the order")
    run(lambda y: y[:, 1:].view_as(dt.zeros(27)), ShapeError, r"write x\.reshape")
    run(lambda y: y.diagonal().view(3, 3).T.view(9), ShapeError, r"x\.contiguous\(\)\.view")
    run(lambda y: y.view("s32"), TypeError, r"write x\.to\(dtype\)")
    for view in (lambda y: y[:1].expand(3, 4, 3), lambda y: y.sum().broadcast_to((2,)), lambda y: y[:1].expand_as(y)):
        run(view, RuntimeError, "repeat")


def test_states_of_a_traced_function_are_written_through_their_views() -> None:
    for start in (np.zeros((3, 3), np.float32), np.zeros((3, 6), np.float32)[:, ::2], np.zeros((3, 3), np.float32).T):
        state = dt.as_tensor(start)

        @dt.trace
        def count(x: dt.Tensor, state: dt.Tensor = state) -> None:
            state.diagonal().add_(x)
            state.T.diagonal(1).add_(1.0)

        for _ in range(3):
            count(dt.ones(3))
        assert state.tolist() == [[3, 0, 0], [3, 3, 0], [0, 3, 3]]


def test_diagonals_on_a_gpu() -> None:
    if emulated_module.COMPILER is None:
        pytest.skip("no host C++ compiler to run the CUDA sources with")
    with emulated_cuda():
        for traced in (False, True):

            def change(x: dt.Tensor) -> dt.Tensor:
                y = x * 1.0
                y.diagonal(1).mul_(3.0)
                y.T.diagonal()[1:] = 0.0
                return y

            y = (dt.trace(change) if traced else change)(dt.ones((3, 4), device="cuda:1"))
            assert y.tolist() == [[1, 3, 1, 1], [1, 0, 3, 1], [1, 1, 0, 3]]
        for shape, repeat in (((1, 4), (3, 4)), ((3, 4), (2, 3, 4))):
            with pytest.raises(RuntimeError, match="whose elements are repeated"):
                dt.ones(shape, device="cuda:0").expand(*repeat).zero_()
