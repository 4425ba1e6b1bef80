"""The one list of CUDA kernels, a line each. Registry, tests, compile checks and benchmarks follow from it.

`inputs` gives the role of each input: T the element dtype, A its accumulation dtype (f64 for f64, else f32), W the
dtype of weight and bias, S a scalar f32 or f64, N s64 numbers, P s32 places, I class numbers (s32 or s64); `T*` is any
number of T.
`dtypes` are the tags behind the function names, `f16_f32` for T = f16 and W = f32. Functions end in `_<tag>`; those of
`merge_functions`, which see only A, in the tag of A.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dtrain.base.dtype import DType, as_dtype, float32, float64
from dtrain.kernels.cuda import convolution, launch, pooling
from dtrain.kernels.cuda.launch import LaunchRule

FLOAT_TAGS = ("f16", "bf16", "f32", "f64")
NUMBER_TAGS = ("u8", "s8", "s16", "s32", "s64", "f32", "f64")
MIXED_TAGS = (*FLOAT_TAGS, "f16_f32", "bf16_f32")


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaRow:
    """One line of the table: an op, where its functions are, for which dtypes, and how they are launched.

    `without` names attributes that the functions do not know: a call that sets one goes to the reference.
    """

    op: str
    file: str
    inputs: tuple[str, ...]
    launch: LaunchRule
    dtypes: tuple[str, ...] = FLOAT_TAGS
    merge_functions: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()  # the functions that the launch rule starts, where they are not named as the op

    def functions(self, tag: str) -> dict[str, str]:
        """Name without tag -> name in the source, of all functions that one call of dtype `tag` needs."""
        accumulator = accumulation_dtype(element_dtype(tag)).tag
        own = self.uses or (self.op,)
        return {
            **{name: f"{name}_{tag}" for name in own},
            **{name: f"{name}_{accumulator}" for name in self.merge_functions},
        }


def element_dtype(tag: str) -> DType:
    """T of a tag such as `f16_f32`."""
    return as_dtype(tag.partition("_")[0])


def weight_dtype(tag: str) -> DType:
    """W of a tag."""
    return as_dtype(tag.rpartition("_")[2])


def accumulation_dtype(dtype: DType) -> DType:
    """A of an element dtype."""
    return float64 if dtype is float64 else float32


TABLE: tuple[CudaRow, ...] = (
    CudaRow(op="rank_order_reduce", file="rank_order.cu", inputs=("T*",), launch=launch.launch_rank_order_reduce),
    CudaRow(
        op="batch_norm_statistics",
        file="batch_norm_reduce.cu",
        inputs=("T",),
        launch=launch.launch_batch_norm_statistics,
        merge_functions=("batch_norm_statistics_merge",),
    ),
    CudaRow(
        op="batch_norm_backward_sums",
        file="batch_norm_reduce.cu",
        inputs=("T", "T", "A", "A"),
        launch=launch.launch_batch_norm_backward_sums,
        merge_functions=("batch_norm_backward_sums_merge",),
    ),
    CudaRow(
        op="batch_norm_normalize",
        file="batch_norm_elementwise.cu",
        inputs=("T", "A", "A", "W", "W"),
        launch=launch.launch_batch_norm_normalize,
        dtypes=MIXED_TAGS,
    ),
    CudaRow(
        op="batch_norm_backward_data",
        file="batch_norm_elementwise.cu",
        inputs=("T", "T", "A", "A", "W", "A", "A", "A"),
        launch=launch.launch_batch_norm_backward_data,
        dtypes=MIXED_TAGS,
    ),
    CudaRow(
        op="softmax_cross_entropy",
        file="softmax_cross_entropy.cu",
        inputs=("T", "I"),
        launch=launch.launch_softmax_cross_entropy,
    ),
    CudaRow(
        op="softmax_cross_entropy_backward",
        file="softmax_cross_entropy.cu",
        inputs=("T", "T", "I"),
        launch=launch.launch_softmax_cross_entropy_backward,
    ),
    CudaRow(op="add_at", file="add_at.cu", inputs=("T", "N", "T"), launch=launch.launch_add_at, dtypes=NUMBER_TAGS),
    CudaRow(op="max_pool2d", file="pooling.cu", inputs=("T",), launch=pooling.launch_max_pool2d),
    CudaRow(
        op="max_pool2d_backward",
        file="pooling.cu",
        inputs=("T", "P"),
        launch=pooling.launch_max_pool2d_backward,
        dtypes=("f32", "f64"),
    ),
    CudaRow(op="im2col", file="im2col.cu", inputs=("T",), launch=convolution.launch_im2col),
    CudaRow(op="col2im", file="im2col.cu", inputs=("T",), launch=convolution.launch_col2im),
    CudaRow(
        op="conv2d",
        file="im2col.cu",
        inputs=("T", "T"),
        launch=convolution.launch_conv2d,
        dtypes=("f32", "f64"),
        uses=("im2col",),
    ),
    CudaRow(
        op="conv2d_backward_data",
        file="im2col.cu",
        inputs=("T", "T"),
        launch=convolution.launch_conv2d_backward_data,
        dtypes=("f32", "f64"),
        uses=("col2im",),
    ),
    CudaRow(
        op="conv2d_backward_weights",
        file="im2col.cu",
        inputs=("T", "T"),
        launch=convolution.launch_conv2d_backward_weights,
        dtypes=("f32", "f64"),
        uses=("im2col",),
    ),
    CudaRow(
        op="range_check",
        file="range_check.cu",
        inputs=("T", "N"),
        launch=launch.launch_range_check,
        dtypes=("s32", "s64"),
    ),
    CudaRow(op="sgd_update", file="optimizer.cu", inputs=("S", "T*"), launch=launch.launch_sgd_update),
    CudaRow(
        op="adam_update",
        file="optimizer.cu",
        inputs=("S", "N", "T*"),
        launch=launch.launch_adam_update,
        without=("amsgrad",),
    ),
)


def functions_of(file: str) -> Iterator[str]:
    """Every function that the table expects in this source, each once."""
    names = {
        name: None for row in TABLE if row.file == file for tag in row.dtypes for name in row.functions(tag).values()
    }
    yield from names
