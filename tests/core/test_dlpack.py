"""bf16 through DLPack, there and back, sharing memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dtrain as dt
from dtrain.base.errors import DtypeError
from dtrain.core.dlpack import _label


@pytest.mark.parametrize("options", [{}, {"max_version": (1, 0)}])
def test_the_label_is_bf16(options: dict[str, Any]) -> None:
    x = dt.tensor([1.5, 2.0]).to("bf16")
    assert tuple(_label(x.__dlpack__(**options))) == (4, 16)
    assert tuple(_label(dt.tensor([1.5]).__dlpack__(**options))) == (2, 32)


@pytest.mark.parametrize("shape", [(2, 3), (0, 2), (), (17,)])
def test_there_and_back_shares_memory(shape: tuple[int, ...]) -> None:
    x = dt.randn(shape).to("bf16")
    y = dt.from_dlpack(x.t() if len(shape) == 2 else x)
    z = y.t() if len(shape) == 2 else y
    assert z.type is x.type and z.tolist() == x.tolist()
    if x.size:
        assert np.shares_memory(x.numpy().view(np.uint16), y.numpy().view(np.uint16))


class OldOwner:
    """One from before `max_version`."""

    def __init__(self, tensor: dt.Tensor) -> None:
        self.tensor = tensor

    def __dlpack__(self, stream: Any = None) -> Any:
        return self.tensor.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.tensor.__dlpack_device__()


@pytest.mark.parametrize("dtype", ["bf16", "f32", "s64", "bool"])
def test_an_owner_of_old_is_understood(dtype: str) -> None:
    x = dt.tensor([1, 0]).to(dtype)
    y = dt.from_dlpack(OldOwner(x))
    assert y.type is x.type and y.tolist() == x.tolist()


def test_elements_that_have_no_dtype_here_are_said() -> None:
    class Strange:
        dtype = "float8"

        def __dlpack__(self, **options: Any) -> Any:
            capsule = np.zeros(2, np.uint8).__dlpack__(**options)
            _label(capsule)[0] = 10  # a code that NumPy does not know
            return capsule

        def __dlpack_device__(self) -> tuple[int, int]:
            return 1, 0

    with pytest.raises(DtypeError, match="float8 of Strange"):
        dt.from_dlpack(Strange())
    with pytest.raises(DtypeError, match="complex"):
        dt.from_dlpack(np.zeros(2, np.complex64))


def test_with_pytorch() -> None:
    torch = pytest.importorskip("torch")
    x = dt.tensor([[1.5, 2.5]]).to("bf16")
    twin = torch.from_dlpack(x)
    assert twin.dtype is torch.bfloat16
    twin[0, 0] = 7
    assert x.tolist() == [[7, 2.5]] == dt.from_dlpack(twin).tolist()
