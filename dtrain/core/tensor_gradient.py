"""What a tensor knows of gradients: its own, how backward reaches it, and the hooks called on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.core.context import context
from dtrain.core.handle import Handle, Registration, without

if TYPE_CHECKING:
    from dtrain.base.tensor_type import TensorType
    from dtrain.core.tape import TapeNode
    from dtrain.core.tensor import Tensor

GradHook = Callable[["Tensor"], "Tensor | None"]
Self = TypeVar("Self", bound="TensorGradient")


class TensorGradient:
    """The part of `Tensor` that has to do with gradients."""

    __slots__ = ("_grad", "hooks")

    _grad: Tensor | None
    hooks: tuple[Registration, ...]

    if TYPE_CHECKING:
        type: TensorType
        requires_grad: bool
        node: TapeNode | None
        index: int

        def _to_keep(self) -> Tensor: ...

    @property
    def grad(self) -> Tensor | None:
        """The gradient that backward passes have added up, or None. Of the tensor's type; may share memory."""
        if context.tracer is None and self._grad is not None:
            self._grad = self._grad._to_keep()
        return grad_where_it_lies(self)  # type: ignore[arg-type]

    @grad.setter
    def grad(self, gradient: Tensor | None) -> None:
        if gradient is not None and gradient.type is not self.type:
            raise ShapeError(expected("grad", f"a gradient of type {self.type}", str(gradient.type)))
        if context.tracer is not None:
            context.tracer.overwrite_grad(self)  # type: ignore[arg-type]
        self._grad = gradient

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Set `requires_grad` and return self. Only floating tensors can require gradients; only leaves can stop to."""
        if requires_grad and not self.type.dtype.is_floating:
            raise DtypeError(expected("requires_grad_", "a floating dtype", str(self.type)))
        if self.node is not None and not requires_grad:
            raise RuntimeError("requires_grad_: expected a leaf, got the result of an op; detach() it first")
        self.requires_grad = requires_grad
        return self

    def register_grad_hook(self, hook: GradHook) -> Handle:
        """Call `hook(grad)` when the gradient of this tensor is complete in a backward pass.

        What the hook returns, unless None, replaces the gradient. The handle takes the hook back: `handle.remove()`, or
        `handle()`.
        """
        added = Registration(hook)
        if self.node is not None:
            hooks = self.node.hooks_of(self.index)
            hooks.append(added)
            return Handle(lambda: hooks.remove(added))
        if not self.requires_grad:
            raise RuntimeError("register_grad_hook: expected a tensor that requires gradients; call requires_grad_()")
        # A tuple, never changed in place: a trace notices another one.
        self.hooks = (*self.hooks, added)
        return Handle(lambda: self._remove_hook(added))

    def _remove_hook(self, gone: Registration) -> None:
        self.hooks = without(self.hooks, gone)


def grad_where_it_lies(leaf: Tensor) -> Tensor | None:
    """`leaf.grad` for who neither keeps it nor writes to it: without the copy of one that is lent."""
    if context.tracer is not None:
        context.tracer.read_grad(leaf)
    return leaf._grad
