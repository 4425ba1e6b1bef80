"""Operations written PyTorch's way: static methods with a ctx, called by `apply`; eagerly and traced."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import collectives as dist


class Scaled(dt.autograd.Function):
    """x · factor + shift: an argument that is no tensor, and one that needs no gradient."""

    @staticmethod
    def forward(ctx, x, factor, shift):
        ctx.factor = factor
        return x * factor + shift

    @staticmethod
    def backward(ctx, grad):
        assert ctx.needs_input_grad == (True, False, False)
        return grad * ctx.factor, None, None


class Swish(dt.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * F.sigmoid(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        s = F.sigmoid(x)
        return grad * (s + x * s * (1 - s))


class Parts(dt.autograd.Function):
    """Two outputs, of which one may stay unused; `forward` without ctx."""

    @staticmethod
    def forward(x):
        return x * 2, x * 3

    @staticmethod
    def setup_context(ctx, inputs, output):
        (x,) = inputs
        ctx.shape = x.shape, output[1].shape

    @staticmethod
    def backward(ctx, first, second):
        assert ctx.shape == (first.shape, second.shape)
        return first * 2 + second * 3


class Argmax(dt.autograd.Function):
    """Values, and places as floats through which no gradient may flow."""

    @staticmethod
    def forward(ctx, x):
        values, places = x.max(1)
        places = places.to(x.dtype)
        ctx.mark_non_differentiable(places)
        ctx.save_for_backward(places)
        ctx.set_materialize_grads(False)
        ctx.width = x.shape[1]
        return values, places

    @staticmethod
    def backward(ctx, grad, nothing):
        assert nothing is None
        (places,) = ctx.saved_tensors
        return F.one_hot(places.long(), ctx.width).to(grad.dtype) * grad.unsqueeze(1)


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape)


def value_and_gradient(function, array, traced):
    def both(x):
        y = function(x)
        (grad,) = dt.grad((y * y).sum(), x)
        return y, grad

    y, grad = (dt.trace(both) if traced else both)(dt.tensor(array, requires_grad=True))
    return y.numpy(), grad.numpy()


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(
    ("static", "plain"),
    [
        (lambda x: Scaled.apply(x, 3.0, dt.tensor(1.0)), lambda x: x * 3.0 + 1.0),
        (Swish.apply, F.silu),
        (lambda x: Parts.apply(x)[0], lambda x: x * 2),
        (lambda x: Parts.apply(x)[1] + Parts.apply(x)[0], lambda x: x * 5),
        (lambda x: Argmax.apply(x)[0], lambda x: x.amax(1)),
        (lambda x: Argmax.apply(x)[0] * Argmax.apply(x)[1], lambda x: x.amax(1) * x.argmax(1)),
    ],
)
def test_values_and_gradients(static, plain, traced):
    for ours, theirs in zip(
        value_and_gradient(static, draw(4, 5), traced), value_and_gradient(plain, draw(4, 5), traced)
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_marked_outputs_have_no_gradient():
    values, places = Argmax.apply(dt.tensor(draw(4, 5), requires_grad=True))
    assert values.requires_grad and not places.requires_grad


def test_second_derivatives():
    x = dt.tensor(draw(5), requires_grad=True)

    def second(function):
        (first,) = dt.grad(function(x).sum(), x, create_graph=True)
        return dt.grad((first**2).sum(), x)[0].numpy()

    np.testing.assert_allclose(second(Swish.apply), second(F.silu), rtol=1e-10)


def test_no_history_without_gradients():
    with dt.no_grad():
        assert not Swish.apply(dt.tensor(draw(3), requires_grad=True)).requires_grad
    assert not Swish.apply(dt.tensor(draw(3))).requires_grad


def test_a_capture_notices_another_backward():
    class Doubled(dt.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, grad):
            return grad * 2

    gradient = dt.trace(lambda x: dt.grad(Doubled.apply(x).sum(), x)[0])
    x = dt.tensor(draw(2), requires_grad=True)
    assert gradient(x).tolist() == [2.0, 2.0]
    Doubled.backward = staticmethod(lambda ctx, grad: grad * 7)
    assert gradient(x).tolist() == [7.0, 7.0]


def test_errors_say_what_to_write():
    class Short(dt.autograd.Function):
        @staticmethod
        def forward(ctx, x, factor):
            return x * factor

        @staticmethod
        def backward(ctx, grad):
            return grad

    class Dirty(Short):
        @staticmethod
        def forward(ctx, x, factor):
            ctx.mark_dirty(x)
            return x

    x = dt.tensor(draw(2), requires_grad=True)
    with pytest.raises(ValueError, match=r"Short\.backward: expected one gradient \(or None\) for each of 2 arguments"):
        Short.apply(x, 2.0).sum().backward()
    with pytest.raises(NotImplementedError, match=r"Dirty\.forward: .* got mark_dirty; return a new tensor"):
        Dirty.apply(x, 2.0)
    with pytest.raises(TypeError, match=r"write Short\.apply\(x\)"):
        Short()(x, 2.0)


def test_classes_with_plain_methods_are_called_too():
    class Tripled(dt.Function):
        def forward(self, x):
            return x * 3

        def backward(self, grad):
            return grad * 3

    x = dt.tensor(draw(2), requires_grad=True)
    Tripled.apply(x).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


class Gathered(dt.autograd.Function):
    """How contrastive losses compare with the samples of all ranks, in most repositories."""

    @staticmethod
    def forward(ctx, x):
        places = [dt.zeros_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(places, x)
        return tuple(places)

    @staticmethod
    def backward(ctx, *grads):
        gradients = dt.stack(grads)
        dist.all_reduce(gradients)
        return gradients[dist.get_rank()]


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_collectives_inside(size, traced):
    """Every rank has the loss of everybody with everybody: the gradients are ranks times those of one process."""
    array = draw(6, 3)

    def whole(x):
        return ((x @ x.t()) ** 2).sum()

    expected = dt.tensor(array, requires_grad=True)
    whole(expected).backward()

    def program(communicator):
        with dist.using(communicator):
            x = dt.tensor(array.reshape(size, -1, 3)[communicator.rank], requires_grad=True)

            def gradient(x):
                return dt.grad(whole(dt.cat(Gathered.apply(x))), x)[0]

            return (dt.trace(gradient) if traced else gradient)(x).numpy()

    found = np.concatenate(dist.run_threads(size, program))
    np.testing.assert_allclose(found, size * expected.grad.numpy(), rtol=1e-10)
