"""What loading a state dict passed over."""

from __future__ import annotations

from typing import NamedTuple


class LoadResult(NamedTuple):
    """Names that `load_state_dict(strict=False)` passed over."""

    missing: list[str]
    unexpected: list[str]

    @property
    def missing_keys(self) -> list[str]:
        """`missing` under PyTorch's name."""
        return self.missing

    @property
    def unexpected_keys(self) -> list[str]:
        """`unexpected` under PyTorch's name."""
        return self.unexpected
