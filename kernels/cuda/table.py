"""The one list of CUDA kernels, a line each. Registry, tests, compile checks and benchmarks follow from it.

`dtypes` are the tags behind the function names, `f16_f32` for T = f16 and W = f32 (the roles of `signature.py`).
Functions end in `_<tag>`; those of `merge_functions`, which see only A, in the tag of A.
"""

from __future__ import annotations

from dataclasses import dataclass

from dtrain.base.layout import LAID_OUT
from dtrain.kernels.cuda import convolution, formulas, launch, pooling
from dtrain.kernels.cuda.launch import LaunchRule
from dtrain.kernels.row import Row, knows_no, one_shape
from dtrain.kernels.signature import accumulation_dtype, element_dtype

FLOAT_TAGS = ("f16", "bf16", "f32", "f64")
NUMBER_TAGS = ("u8", "s8", "s16", "s32", "s64", "f32", "f64")
MIXED_TAGS = (*FLOAT_TAGS, "f16_f32", "bf16_f32")


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaRow(Row):
    """One line of the table: a `Row`, where its functions are, for which dtypes, and how they are launched."""

    file: str
    launch: LaunchRule
    dtypes: tuple[str, ...] = FLOAT_TAGS
    merge_functions: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()  # the functions that the launch rule starts, where they are not named as the op

    def functions(self, tag: str) -> dict[str, str]:
        """Name without tag -> name in the source, of all functions that one call of dtype `tag` needs."""
        accumulator = accumulation_dtype(element_dtype(tag)).tag
        own = self.uses or (self.op,)
        return {
            **{name: f"{name}_{tag}" for name in own},
            **{name: f"{name}_{accumulator}" for name in self.merge_functions},
        }


TABLE: tuple[CudaRow, ...] = (
    CudaRow(op="rank_order_reduce", file="rank_order.cu", launch=launch.launch_rank_order_reduce),
    CudaRow(
        op="batch_norm_statistics",
        file="batch_norm_reduce.cu",
        launch=launch.launch_batch_norm_statistics,
        merge_functions=("batch_norm_statistics_merge",),
        workspace=launch.channel_parts(4),
    ),
    CudaRow(
        op="batch_norm_backward_sums",
        file="batch_norm_reduce.cu",
        launch=launch.launch_batch_norm_backward_sums,
        merge_functions=("batch_norm_backward_sums_merge",),
        workspace=launch.channel_parts(2),
    ),
    CudaRow(
        op="batch_norm_normalize",
        file="batch_norm_elementwise.cu",
        launch=launch.launch_batch_norm_normalize,
        dtypes=MIXED_TAGS,
    ),
    CudaRow(
        op="batch_norm_backward_data",
        file="batch_norm_elementwise.cu",
        launch=launch.launch_batch_norm_backward_data,
        dtypes=MIXED_TAGS,
    ),
    CudaRow(
        op="softmax_cross_entropy",
        file="softmax_cross_entropy.cu",
        launch=launch.launch_softmax_cross_entropy,
    ),
    CudaRow(
        op="softmax_cross_entropy_backward",
        file="softmax_cross_entropy.cu",
        launch=launch.launch_softmax_cross_entropy_backward,
    ),
    CudaRow(op="add_at", file="add_at.cu", launch=launch.launch_add_at, dtypes=NUMBER_TAGS),
    CudaRow(op="max_pool2d", file="pooling.cu", launch=pooling.launch_max_pool2d),
    CudaRow(
        op="max_pool2d_backward",
        file="pooling.cu",
        launch=pooling.launch_max_pool2d_backward,
        dtypes=("f32", "f64"),
    ),
    CudaRow(op="im2col", file="im2col.cu", launch=convolution.launch_im2col),
    CudaRow(op="col2im", file="im2col.cu", launch=convolution.launch_col2im),
    CudaRow(
        op="conv2d",
        file="im2col.cu",
        launch=convolution.launch_conv2d,
        dtypes=("f32", "f64"),
        uses=("im2col",),
        workspace=convolution.workspace_nbytes,
    ),
    CudaRow(
        op="conv2d_backward_data",
        file="im2col.cu",
        launch=convolution.launch_conv2d_backward_data,
        dtypes=("f32", "f64"),
        uses=("col2im",),
        workspace=convolution.workspace_nbytes,
    ),
    CudaRow(
        op="conv2d_backward_weights",
        file="im2col.cu",
        launch=convolution.launch_conv2d_backward_weights,
        dtypes=("f32", "f64"),
        uses=("im2col",),
        workspace=convolution.workspace_nbytes,
    ),
    CudaRow(
        op="range_check",
        file="range_check.cu",
        launch=launch.launch_range_check,
        dtypes=("s32", "s64"),
    ),
    CudaRow(op="sgd_update", file="optimizer.cu", launch=launch.launch_sgd_update),
    CudaRow(
        op="adam_update",
        file="optimizer.cu",
        launch=launch.launch_adam_update,
        asks=(knows_no("amsgrad"),),
    ),
    *(
        CudaRow(
            op=kernel.name,
            file=file,
            launch=launch.launch_formula(*kernel.parameters),
            asks=(one_shape,),
            layouts=LAID_OUT,
        )
        for file in formulas.FILES
        for kernel in formulas.kernels_in(file)
    ),
)
