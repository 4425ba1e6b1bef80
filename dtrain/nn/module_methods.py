"""Methods of modules under PyTorch's names: dtypes and devices as verbs, hints for words that mean something else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from dtrain.base import names
from dtrain.base.dtype import DTypeLike

if TYPE_CHECKING:
    from dtrain.nn.module import Module

Self = TypeVar("Self", bound="ModuleMethods")


class ModuleMethods:
    """What `Module` has besides its own words."""

    if TYPE_CHECKING:

        def to(self: Self, target: Any) -> Self: ...
        def children(self) -> Iterator[Module]: ...

    def cpu(self: Self) -> Self:
        """Move every parameter and buffer to the CPU, in place. Returns self."""
        return self.to("cpu")

    def cuda(self: Self, device: Any = None) -> Self:
        """Move every parameter and buffer to a GPU, by default the current one, in place. Returns self."""
        return self.to("cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else device)

    def float(self: Self) -> Self:
        """Cast floating parameters and buffers to f32, in place. Returns self."""
        return self.to("f32")

    def double(self: Self) -> Self:
        """Cast floating parameters and buffers to f64, in place. Returns self."""
        return self.to("f64")

    def half(self: Self) -> Self:
        """Cast floating parameters and buffers to f16, in place. Returns self."""
        return self.to("f16")

    def bfloat16(self: Self) -> Self:
        """Cast floating parameters and buffers to bf16, in place. Returns self."""
        return self.to("bf16")

    def type(self: Self, dtype: DTypeLike) -> Self:
        """Cast floating parameters and buffers to a dtype, in place. Returns self."""
        return self.to(dtype)

    def add_module(self, name: str, module: Module | None) -> None:
        """Set child `name`, which may contain characters that Python's syntax does not allow."""
        items = vars(self).get("_items")
        if isinstance(items, dict) and module is not None:  # a chain or a dict of modules
            items[name] = module
        else:
            setattr(self, name, module)

    register_module = add_module

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Called for attributes that the module does not have. Copies and pickles ask for many with underscores.
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            items = vars(self).get("_items")
            if isinstance(items, dict) and name in items:
                return items[name]
            raise AttributeError(names.hint("Module", name, [*vars(self), *dir(type(self))]))
