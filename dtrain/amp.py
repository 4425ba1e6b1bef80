"""`dt.amp`: PyTorch's mixed precision where a script has it switched off. There is none: cast with .to("bf16")."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ContextDecorator
from typing import TYPE_CHECKING, Any

from dtrain.base import names as _names
from dtrain.base.cuda import is_cuda_available
from dtrain.base.errors import expected
from dtrain.core.tensor import Tensor
from dtrain.optim.optimizer import Optimizer

_ADVICE = "there is no mixed precision: leave it out, or cast model and inputs with .to('bf16')"


def _expect_off(where: str, device: str, enabled: bool) -> None:
    """PyTorch switches CUDA's mixed precision off where there is no GPU; elsewhere on would mean other numbers."""
    if enabled and (device != "cuda" or is_cuda_available()):
        raise ValueError(expected(where, "enabled=False", "enabled=True", _ADVICE))


class autocast(ContextDecorator):
    """A block, or a decorated function, whose computations keep their dtypes.

    Args:
        device_type: "cpu" or "cuda"; the switch itself, as `torch.cuda.amp.autocast` has it.
        enabled: False; or True for "cuda" on a machine without GPUs, where PyTorch's has no effect either.

    Raises:
        ValueError: it would have an effect in PyTorch.
    """

    def __init__(
        self,
        device_type: Any = "cuda",
        dtype: Any = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        if isinstance(device_type, bool):
            device_type, enabled = "cuda", device_type
        _expect_off("autocast", str(device_type).partition(":")[0], enabled)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


class GradScaler:
    """Loss scaling that is switched off: every method does what PyTorch's does then.

    Raises:
        ValueError: enabled on a machine with GPUs.
    """

    def __init__(self, device: Any = "cuda", *args: Any, enabled: bool = True, **options: Any) -> None:
        _expect_off("GradScaler", "cuda", enabled)

    def scale(self, outputs: Any) -> Any:
        """The outputs themselves."""
        return outputs

    def unscale_(self, optimizer: Optimizer) -> None:
        """Nothing was scaled."""

    def step(self, optimizer: Optimizer, closure: Callable[[], Tensor] | None = None) -> Any:
        """optimizer.step()."""
        return optimizer.step() if closure is None else optimizer.step(closure)

    def update(self, new_scale: float | None = None) -> None:
        """There is no scale to update."""

    def get_scale(self) -> float:
        """1."""
        return 1.0

    def is_enabled(self) -> bool:
        """False."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Nothing, as PyTorch's when it is off."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load; a state of a scaler that was on is left aside."""


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return _names.lookup("amp", name, globals())
