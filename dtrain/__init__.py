"""dtrain: distributed-first deep-learning training on MPI and NCCL.

    import dtrain as dt
    import dtrain.functional as F
    from dtrain import nn, optim, data, collectives as dist

Importing it starts neither MPI nor CUDA nor Ray. `models`, `collectives` and `launcher` are imported
when first used, as is `checkpoint`.
"""

from __future__ import annotations

import importlib
from math import e as e
from math import inf as inf
from math import nan as nan
from math import pi as pi
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not Path(__file__).with_name("kernels").exists():
    # An unpacked sdist has these folders once, beside this one, and not the links that a checkout has.
    __path__.append(str(Path(__file__).parents[1]))

from dtrain.autograd.backward_pass import backward as backward
from dtrain.autograd.backward_pass import grad as grad
from dtrain.autograd.function import Function as Function
from dtrain.base import errors as errors
from dtrain.base import module_names as _module_names
from dtrain.base import names as names
from dtrain.base.cuda import device_count as device_count
from dtrain.base.cuda import is_cuda_available as is_cuda_available
from dtrain.base.device import Device as Device
from dtrain.base.device import DeviceLike
from dtrain.base.device import as_device as as_device
from dtrain.base.dtype import DType as DType
from dtrain.base.dtype import DTypeLike
from dtrain.base.dtype import as_dtype as as_dtype
from dtrain.base.dtype import bfloat16 as bfloat16
from dtrain.base.dtype import bool_ as bool_
from dtrain.base.dtype import float16 as float16
from dtrain.base.dtype import float32 as float32
from dtrain.base.dtype import float64 as float64
from dtrain.base.dtype import int8 as int8
from dtrain.base.dtype import int16 as int16
from dtrain.base.dtype import int32 as int32
from dtrain.base.dtype import int64 as int64
from dtrain.base.dtype import qint8 as qint8
from dtrain.base.dtype import qint16 as qint16
from dtrain.base.dtype import qint32 as qint32
from dtrain.base.dtype import quint8 as quint8
from dtrain.base.dtype import uint8 as uint8
from dtrain.base.errors import DtrainError as DtrainError
from dtrain.base.library_threads import num_threads as _num_threads
from dtrain.base.library_threads import set_num_threads as _set_num_threads
from dtrain.base.log import get_logger as get_logger
from dtrain.base.memory_format import channels_last as channels_last
from dtrain.base.memory_format import channels_last_3d as channels_last_3d
from dtrain.base.memory_format import contiguous_format as contiguous_format
from dtrain.base.memory_format import preserve_format as preserve_format
from dtrain.base.rank_info import RankInfo as RankInfo
from dtrain.base.settings import are_deterministic_algorithms_enabled as are_deterministic_algorithms_enabled
from dtrain.base.settings import get_default_dtype as get_default_dtype
from dtrain.base.settings import get_float32_matmul_precision as get_float32_matmul_precision
from dtrain.base.settings import set_default_device as set_default_device
from dtrain.base.settings import set_default_dtype as set_default_dtype
from dtrain.base.settings import set_float32_matmul_precision as set_float32_matmul_precision
from dtrain.base.settings import use_deterministic_algorithms as use_deterministic_algorithms
from dtrain.base.tensor_type import TensorType as TensorType
from dtrain.base.version import VERSION
from dtrain.capture.trace import TracedFunction as TracedFunction
from dtrain.capture.trace import trace as trace
from dtrain.core.context import enable_grad as enable_grad
from dtrain.core.context import is_grad_enabled as is_grad_enabled
from dtrain.core.context import is_tracing as is_tracing
from dtrain.core.context import no_grad as no_grad
from dtrain.core.context import set_grad_enabled as set_grad_enabled
from dtrain.core.random import Generator as Generator
from dtrain.core.random import default_generator as default_generator
from dtrain.core.random import seed as seed
from dtrain.core.random_like import get_rng_state as get_rng_state
from dtrain.core.random_like import initial_seed as initial_seed
from dtrain.core.random_like import manual_seed as manual_seed
from dtrain.core.random_like import rand as rand
from dtrain.core.random_like import rand_like as rand_like
from dtrain.core.random_like import randint_like as randint_like
from dtrain.core.random_like import randn as randn
from dtrain.core.random_like import randn_like as randn_like
from dtrain.core.random_like import set_rng_state as set_rng_state
from dtrain.core.tensor import Parameter as Parameter
from dtrain.core.tensor import Tensor as Tensor
from dtrain.core.tensor import as_tensor as as_tensor
from dtrain.core.tensor_factory import arange as arange
from dtrain.core.tensor_factory import eye as eye
from dtrain.core.tensor_factory import full as full
from dtrain.core.tensor_factory import full_like as full_like
from dtrain.core.tensor_factory import linspace as linspace
from dtrain.core.tensor_factory import ones as ones
from dtrain.core.tensor_factory import ones_like as ones_like
from dtrain.core.tensor_factory import tensor as tensor
from dtrain.core.tensor_factory import typed as _typed
from dtrain.core.tensor_factory import zeros as zeros
from dtrain.core.tensor_factory import zeros_like as zeros_like

# isort: split
from dtrain import data as data
from dtrain import functional as functional
from dtrain import nn as nn
from dtrain import optim as optim
from dtrain import passes as passes
from dtrain.core.graph_passes import graph_passes as graph_passes
from dtrain.ops.random_from import bernoulli as bernoulli
from dtrain.ops.random_from import normal as normal

__version__ = VERSION

dtype = as_dtype
Size: type[tuple[int, ...]] = tuple  # shapes are plain tuples
randint = functional.randint


def device(value: DeviceLike, index: int | None = None) -> Device:
    """A device from its text: `device("cuda:0")`, or `device("cuda", 0)`."""
    return as_device(value if index is None else f"{value}:{index}")


def finfo(dtype: DTypeLike = float32) -> Any:
    """Limits of a floating dtype: `finfo("bf16").max`."""
    import ml_dtypes

    return ml_dtypes.finfo(as_dtype(dtype).numpy)


def iinfo(dtype: DTypeLike = int64) -> Any:
    """Limits of an integer dtype: `iinfo("s8").min`."""
    import ml_dtypes

    return ml_dtypes.iinfo(as_dtype(dtype).numpy)


def set_num_threads(number: int) -> None:
    """Let kernels and libraries of the CPU compute with so many threads. No bit of what our kernels give depends on it.

    A traced function has memory for the parts that were to be computed at once when it was traced: say it before.
    """
    if number < 1:
        raise ValueError(errors.expected("set_num_threads", "a number of at least 1", repr(number)))
    _set_num_threads(number)


def get_num_threads() -> int:
    """How many threads compute on the CPU: OMP_NUM_THREADS, else the cores that this process may use."""
    return _num_threads()


def is_tensor(value: object) -> bool:
    """Whether it is a Tensor."""
    return isinstance(value, Tensor)


for _function in ("arange", "eye", "full", "full_like", "linspace", "ones_like", "zeros_like"):
    globals()[_function] = getattr(functional, _function)  # with the keywords of others

for _name, _dtype in {
    "BoolTensor": bool_, "ByteTensor": uint8, "DoubleTensor": float64, "FloatTensor": float32, "HalfTensor": float16,
    "IntTensor": int32, "LongTensor": int64,
}.items():  # fmt: skip
    globals()[_name] = _typed(_name, _dtype)

names.set_importer(importlib.import_module)
_module_names.install()
_IMPORTED_WHEN_USED = ("amp", "backends", "cuda", "checkpoint", "collectives", "launcher", "models", "testing")

if TYPE_CHECKING:
    from dtrain import amp as amp
    from dtrain import backends as backends
    from dtrain import checkpoint as checkpoint
    from dtrain import collectives as collectives
    from dtrain import cuda as cuda
    from dtrain import launcher as launcher
    from dtrain import models as models
    from dtrain import testing as testing
else:  # a type checker would take every name for one of these

    def __getattr__(name: str) -> object:
        if name in _IMPORTED_WHEN_USED:
            return importlib.import_module(f"dtrain.{name}")
        return names.lookup("dt", name, globals())


def __dir__() -> list[str]:
    return sorted([*globals(), *_IMPORTED_WHEN_USED])
