"""Handles on one memory in a traced function: what one of them overwrites is not read through another."""

from __future__ import annotations

import pytest

import dtrain as dt
from dtrain.base.errors import TraceError


def _twin_is_written(x: dt.Tensor) -> dt.Tensor:
    x.mul_(2)
    x.data.zero_()
    return x * 1


def _original_is_written_again(x: dt.Tensor) -> dt.Tensor:
    x.mul_(2)
    twin = x.detach()
    x.mul_(3)
    return twin * 1


def _twin_of_a_twin_is_written(x: dt.Tensor) -> dt.Tensor:
    y = x * 2
    y.detach().detach().mul_(3)
    return y * 1


def _view_of_a_twin_is_read(x: dt.Tensor) -> dt.Tensor:
    x.mul_(2)
    part = x.detach()[:1]
    x[:] = 5
    return part * 1


@pytest.mark.parametrize(
    "function",
    [_twin_is_written, _original_is_written_again, _twin_of_a_twin_is_written, _view_of_a_twin_is_read],
)
def test_twins_made_after_a_write_are_refused_once_one_of_them_is_written(function) -> None:
    with pytest.raises(TraceError, match="views and detached twins"):
        dt.trace(function)(dt.tensor([1.0, 2.0]))


def test_a_copy_of_a_value_is_no_twin() -> None:
    def copies(x: dt.Tensor) -> tuple[dt.Tensor, dt.Tensor]:
        y, z = x * 2, x * 0
        z.copy_(y)
        z.mul_(2)
        twin = z.detach()
        z.add_(1)
        twin = z.detach()
        return y * 1, twin * 1

    assert [item.tolist() for item in dt.trace(copies)(dt.tensor([1.0, 2.0]))] == [[2, 4], [5, 9]]
