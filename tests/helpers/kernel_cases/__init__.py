"""Cases of every compiled kernel, by op. A new family adds its module here; a kernel without cases fails a test."""

from __future__ import annotations

from helpers.kernel_cases import (
    activation_cases,
    batch_norm_cases,
    convolution_cases,
    layout_cases,
    loss_cases,
    optimizer_cases,
    pooling_cases,
    random_cases,
    rank_order_cases,
    row_cases,
)
from helpers.kernel_cases.case import CaseSource, call

CASES: dict[str, CaseSource] = {
    **convolution_cases.CASES,
    **pooling_cases.CASES,
    **layout_cases.CASES,
    **batch_norm_cases.CASES,
    **loss_cases.CASES,
    **optimizer_cases.CASES,
    **rank_order_cases.CASES,
    **activation_cases.CASES,
    **row_cases.CASES,
    **random_cases.CASES,
}

__all__ = ["CASES", "call"]
