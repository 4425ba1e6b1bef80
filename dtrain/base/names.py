"""Names of PyTorch and Horovod, and where they are here: one table for aliases, for hints in errors, for the docs.

`ALIASES` has the words that mean the same: they work, as `place.word`. `HINTS` (name_hints.py) has words that do not:
using one raises an AttributeError that says what to write. A place is a namespace, `Tensor` or `Module`; a target is a
path below `dtrain`, with F, dist for functional, collectives. `docs/coming-from.md` is generated from here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dtrain.base import name_hints
from dtrain.base.user_source import user_frame

_MODULES = {
    "dt": "dtrain", "F": "dtrain.functional", "nn": "dtrain.nn", "optim": "dtrain.optim", "data": "dtrain.data",
    "dist": "dtrain.collectives", "init": "dtrain.nn.init", "checkpoint": "dtrain.checkpoint", "cuda": "dtrain.cuda",
    "hvd": "dtrain.collectives.horovod", "amp": "dtrain.amp", "backends": "dtrain.backends",
    "autograd": "dtrain.autograd", "autograd.function": "dtrain.autograd.function",
}  # fmt: skip
# Modules of PyTorch that are no more than names here; `module_names` makes them.
_NAMES_ONLY = ("multiprocessing", "utils", "nn.utils", "nn.utils.rnn", "nn.parallel")
_MODULES |= {place: f"dtrain.{place}" for place in _NAMES_ONLY}
# The differentiable collectives of torch.distributed.nn: ours are so where they lie.
_DIFFERENTIABLE = {"dist.nn": "dtrain.collectives.nn", "dist.nn.functional": "dtrain.collectives.nn.functional"}
_MODULES |= _DIFFERENTIABLE


_importer: Callable[[str], Any] | None = None


def _same(words: str, place: str = "F") -> dict[str, str]:
    return {word: f"{place}.{word}" for word in words.split()}


# Functions of PyTorch's top level that dtrain has in its functional namespace. Not here: what differs there.
_FUNCTIONS = _same(
    "abs acos acosh add addmm all allclose amax amin any argmax argmin argsort asin asinh atan atan2 atanh "
    "bitwise_and bitwise_not bitwise_or bitwise_xor bmm broadcast_to cat ceil chunk clip concat cos cosh "
    "count_nonzero cumsum diag diagonal diagonal_scatter div dot dropout erf exp exp2 expm1 flatten flip floor frac "
    "gather greater greater_equal hstack hypot index_add index_select isclose isfinite isinf isnan lerp less "
    "less_equal log log10 log1p log2 log_softmax logical_and logical_not logical_or logical_xor logsumexp masked_fill "
    "masked_select matmul maximum mean meshgrid minimum mm mul multinomial mv narrow neg nonzero norm not_equal numel "
    "outer permute pow prod ravel reciprocal relu reshape roll round rsqrt scatter scatter_add scatter_reduce "
    "searchsorted select sigmoid sign sin sinh softmax sort split sqrt square squeeze stack std std_mean sub sum t "
    "tan tanh tile topk transpose tril triu trunc unbind unique unsqueeze var var_mean vstack where baddbmm bincount "
    "block_diag bucketize cdist cumprod diff einsum fmod nan_to_num quantile tensor_split tensordot tril_indices "
    "triu_indices"
)

_COLLECTIVES = _same("all_reduce all_gather all_to_all broadcast gather reduce scatter", "dist")

ALIASES: Mapping[str, Mapping[str, str]] = {
    "dt": {
        **_FUNCTIONS,
        "absolute": "F.abs", "arccos": "F.acos", "arcsin": "F.asin", "arctan": "F.atan", "arctan2": "F.atan2",
        "asarray": "dt.as_tensor", "from_dlpack": "dt.as_tensor",
        "from_numpy": "dt.as_tensor", "clamp": "F.clip", "concatenate": "F.cat",
        "divide": "F.div", "eq": "F.equal", "floor_divide": "F.floor_div", "ge": "F.greater_equal", "ger": "F.outer",
        "gt": "F.greater", "le": "F.less_equal", "lt": "F.less", "movedim": "F.move_axis", "moveaxis": "F.move_axis",
        "multiply": "F.mul", "ne": "F.not_equal", "negative": "F.neg", "randperm": "F.permutation",
        "remainder": "F.mod", "repeat_interleave": "F.repeat", "subtract": "F.sub", "swapaxes": "F.swap_axes",
        "swapdims": "F.swap_axes", "take_along_dim": "F.take_along_dim", "true_divide": "F.div",
        "equal": "Tensor.equal", "max": "Tensor.max", "min": "Tensor.min", "median": "Tensor.median",
        "squeeze": "Tensor.squeeze",
        "mode": "Tensor.mode", "kthvalue": "Tensor.kthvalue", "cummax": "Tensor.cummax", "cummin": "Tensor.cummin",
        "float": "dt.float32", "double": "dt.float64", "half": "dt.float16", "long": "dt.int64", "int": "dt.int32",
        "short": "dt.int16", "bool": "dt.bool_",
        "inference_mode": "dt.no_grad", "empty": "F.zeros", "empty_like": "F.zeros_like",
        "save": "checkpoint.save", "load": "checkpoint.load",
        "multiprocessing": "multiprocessing",
        "distributed": "dist", "autocast": "amp.autocast", "utils": "utils", "autograd": "autograd",
    },
    "F": {
        "clamp": "F.clip", "upsample": "F.interpolate",
        "hardswish": "F.hswish", "hardsigmoid": "F.hsigmoid", "log_sigmoid": "F.logsigmoid",
        "eq": "F.equal", "ne": "F.not_equal", "lt": "F.less", "le": "F.less_equal", "gt": "F.greater",
        "ge": "F.greater_equal",
    },
    "nn": {"functional": "F", "utils": "nn.utils", "parallel": "nn.parallel", "modules": "nn"},
    "nn.utils": {
        **_same("clip_grad_norm_ clip_grad_value_", "optim"), "rnn": "nn.utils.rnn",
        **_same("parameters_to_vector vector_to_parameters", "nn"),
    },
    "nn.utils.rnn": {"pad_sequence": "F.pad_sequence"},
    "nn.parallel": {"DistributedDataParallel": "dist.DistributedDataParallel"},
    "utils": {"data": "data"},
    "multiprocessing": {},
    "autograd": {**_same("Function grad backward no_grad enable_grad", "dt"), "function": "autograd.function"},
    "autograd.function": {"Function": "dt.Function"},
    "amp": {},
    "backends": {},
    "optim": {},
    "data": {"default_collate": "data.collate", "distributed": "data"},
    "init": {},
    "dist": {
        "all_gather_into_tensor": "dist.all_gather_into", "reduce_scatter_tensor": "dist.reduce_scatter_into",
        "all_to_all_single": "dist.all_to_all_into", "destroy_process_group": "dist.finalize",
        "get_node_local_rank": "dist.local_rank", "nn": "dist.nn",
    },
    "dist.nn": {**_COLLECTIVES, "functional": "dist.nn.functional"},
    "dist.nn.functional": _COLLECTIVES,
    "Tensor": {
        "absolute": "F.abs", "arccos": "F.acos", "arcsin": "F.asin", "arctan": "F.atan", "clamp": "F.clip",
        "divide": "F.div", "eq": "F.equal", "floor_divide": "F.floor_div", "ge": "F.greater_equal",
        "gt": "F.greater", "le": "F.less_equal", "lt": "F.less", "moveaxis": "F.move_axis", "movedim": "F.move_axis",
        "multiply": "F.mul", "ne": "F.not_equal", "negative": "F.neg", "ravel": "F.flatten", "remainder": "F.mod",
        "repeat_interleave": "F.repeat", "subtract": "F.sub", "swapaxes": "F.swap_axes", "swapdims": "F.swap_axes",
        "take_along_dim": "F.take_along_dim", "true_divide": "F.div",
        **_same(
            "acos acosh add addmm allclose amax amin asin asinh atan atan2 atanh bitwise_and bitwise_not bitwise_or "
            "bitwise_xor bmm ceil cos cosh count_nonzero diag diagonal diagonal_scatter div dot exp2 expm1 floor frac "
            "greater greater_equal hypot index_add isclose isfinite isinf isnan lerp less less_equal log10 log1p log2 "
            "logical_and logical_not logical_or logical_xor masked_fill maximum minimum mm mul multinomial mv neg "
            "not_equal numel outer prelu reciprocal roll scatter scatter_add scatter_reduce select sign sin sinh "
            "std_mean sub t tan tensor_split tile tril triu trunc unbind unflatten unique var_mean"
        ),
    },
    "Module": {},
    "cuda": {"amp": "amp"},
    "checkpoint": {},
    "hvd": {"SyncBatchNorm": "nn.SyncBatchNorm"},
}  # fmt: skip

HINTS: Mapping[str, Mapping[str, str]] = name_hints.HINTS

# Import lines that change when a script comes here; in others `dtrain` stands for `torch`.
IMPORTS: Mapping[str, str] = {
    "import torch": "import dtrain as torch",
    "import torch.nn as nn": "from dtrain import nn",
    "import torch.nn.functional as F": "import dtrain.functional as F",
    "import torch.optim as optim": "from dtrain import optim",
    "from torch import nn, optim": "from dtrain import nn, optim",
    "import torch.nn.parallel": "import dtrain.nn.parallel",
    "import torch.backends.cudnn as cudnn": "import dtrain.backends.cudnn as cudnn",
    "from torch.nn.utils import clip_grad_norm_": "from dtrain.nn.utils import clip_grad_norm_",
    "from torch.nn.utils.rnn import pad_sequence": "from dtrain.nn.utils.rnn import pad_sequence",
    "from torch.cuda.amp import GradScaler, autocast": "from dtrain.cuda.amp import GradScaler, autocast",
    "from torch.optim.lr_scheduler import StepLR": "from dtrain.optim.lr_scheduler import StepLR",
    "import torch.utils.data.distributed": "import dtrain.utils.data.distributed",
    "from torch.utils.data import DataLoader, Dataset": "from dtrain.utils.data import DataLoader, Dataset",
    "from torch.utils.data.distributed import DistributedSampler":
        "from dtrain.utils.data.distributed import DistributedSampler",
    "import torch.distributed as dist": "from dtrain import collectives as dist",
    "from torch.nn.parallel import DistributedDataParallel as DDP":
        "from dtrain.nn.parallel import DistributedDataParallel as DDP",
    "import horovod.torch as hvd": "import dtrain.collectives.horovod as hvd",
}  # fmt: skip


def set_importer(importer: Callable[[str], Any]) -> None:
    """Find the modules of the table with `importer`. They lie on floors above: the package's root hands itself in."""
    global _importer
    _importer = importer


def module_of(path: str) -> Any:
    """The module of this name."""
    assert _importer is not None, "dtrain/__init__.py sets it"
    return _importer(path)


def resolve(path: str) -> Any:
    """The object that a path of the table names: `F.clip`, `dt.float32`, `Tensor.max`."""
    if path in _MODULES:
        return module_of(_MODULES[path])
    head, *rest = path.split(".")
    found = module_of("dtrain").Tensor if head == "Tensor" else module_of(_MODULES[head])
    for word in rest:
        found = getattr(found, word, None) or module_of(f"{found.__name__}.{word}")
    return found


def lookup(place: str, word: str, known: Iterable[str]) -> Any:
    """What `place.word` is under another name, for the `__getattr__` of a namespace that has no such word.

    Raises:
        AttributeError: it is nowhere; the text says what to write. In an import statement ImportError, since that
            would hide the text.
    """
    if word.startswith("__"):  # asked for by Python itself
        raise AttributeError(word)
    target = ALIASES[place].get(word)
    if target is not None:
        return resolve(target)
    error = ImportError if _is_import() else AttributeError
    raise error(hint(place, word, known))


def hint(place: str, word: str, known: Iterable[str]) -> str:
    """What to say where `place` has no `word`."""
    shown = {"Tensor": "x", "Module": "module"}.get(place, place)
    text = f"{shown}.{word}: "
    if word in HINTS[place]:
        return text + HINTS[place][word]
    elsewhere = [
        f"{other}.{word}"
        for other in ("F", "nn", "optim", "data", "dist", "dt")
        if other != place and _has(other, word)
    ]
    if elsewhere and not word.startswith("_"):
        return text + f"write {elsewhere[0]}"
    import difflib

    near = difflib.get_close_matches(word, [name for name in known if not name.startswith("_")], n=1, cutoff=0.65)
    kind = {"Tensor": "a tensor", "Module": "this module"}.get(place, _MODULES.get(place, place))
    return text + f"{kind} has no attribute {word!r}" + (f"; did you mean {near[0]}?" if near else "")


def place_of(path: str) -> str | None:
    """The place that a module is, `nn` for `dtrain.nn`; None for others."""
    return next((place for place, module in _MODULES.items() if module == path), None)


def is_names_only(place: str) -> bool:
    """Whether the place is a module of PyTorch that has no module of ours behind it."""
    return place in _NAMES_ONLY or place in _DIFFERENTIABLE


def _has(place: str, word: str) -> bool:
    module = sys.modules.get(_MODULES[place])
    return module is not None and (word in vars(module) or word in vars(module).get("__all__", ()))


def _is_import() -> bool:
    """Whether the innermost frame outside of dtrain is at `from … import …`."""
    import opcode

    frame = user_frame()
    return frame is not None and frame.f_code.co_code[frame.f_lasti] == opcode.opmap["IMPORT_FROM"]
