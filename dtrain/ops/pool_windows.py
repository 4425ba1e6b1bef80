"""What the pooling functions share: the windows that see an image, and their attributes.

OH = (H + 2·padding − dilation·(KH − 1) − 1) // stride + 1. Padding never wins a maximum; it is at most half a kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dtrain.core.tensor import Tensor
from dtrain.ops.convolution import as_pair
from dtrain.opset.convolution import Pair


def window_attributes(
    name: str, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, as_sizes: Callable[..., Any]
) -> dict[str, Any]:
    """The attributes of a window; what is as usual is left out, which is what the compiled kernels take."""
    kernel = as_sizes(name, "kernel_size", kernel_size, 1)
    attrs = {
        "kernel_size": kernel,
        "stride": kernel if stride is None else as_sizes(name, "stride", stride, 1),
        "padding": as_sizes(name, "padding", padding, 0),
    }
    spread = as_sizes(name, "dilation", dilation, 1)
    if max(spread) > 1:
        attrs["dilation"] = spread
    return {**attrs, "ceil_mode": True} if ceil_mode else attrs


# What of the attributes says where the windows lie.
WINDOW = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_ALONG_ROWS = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}


def as_one_row(attrs: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a 1-d window as those of a 2-d one over images of one row."""
    return {name: (_ALONG_ROWS[name], *value) if name in _ALONG_ROWS else value for name, value in attrs.items()}


def cell_counts(name: str, x: Tensor, output_size: Any) -> Pair:
    """One number for both axes, or a pair in which None keeps the size of the image."""
    if isinstance(output_size, tuple | list) and len(output_size) == 2 and x.ndim >= 2:
        output_size = tuple(size if kept is None else kept for kept, size in zip(output_size, x.shape[-2:]))
    return as_pair(name, "output_size", output_size, 1)
