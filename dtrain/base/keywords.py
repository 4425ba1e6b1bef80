"""The table of keywords: which words of others stand for which of ours. `spelling` makes them work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dtrain.base.errors import expected

# Theirs -> ours, the first that the function has. The same word may stand for different parameters of ours.
KEYWORDS: Mapping[str, tuple[str, ...]] = {
    "input": ("x", "logits", "prediction", "log_probabilities", "index", "indices", "a", "other"),
    "other": ("y", "b"),
    "exponent": ("y",),
    "target": ("targets",),
    "dim": ("axis",),
    "dims": ("axis", "repeats", "axes"),
    "dim1": ("axis1",),
    "dim2": ("axis2",),
    "keepdim": ("keepdims",),
    "unbiased": ("correction",),
    "p": ("ord",),
    "start_dim": ("start_axis",),
    "end_dim": ("end_axis",),
    "unflattened_size": ("sizes",),
    "min": ("low",),
    "max": ("high",),
    "shifts": ("shift",),
    "split_size_or_sections": ("split_size",),
    "src": ("source",),
    "source": ("values",),
    "size": ("shape",),
    "fill_value": ("value",),
    "end": ("stop",),
    "steps": ("num",),
    "pad": ("pads",),
    "sorted_sequence": ("sorted_values",),
    "vec2": ("b",),
    "vec": ("b",),
    "mat1": ("a",),
    "mat2": ("b",),
    "batch1": ("a",),
    "batch2": ("b",),
    "row": ("rows",),
    "col": ("columns",),
    "tensor": ("b",),
    "elementwise_affine": ("affine",),
    "init": ("initial",),
    "d_model": ("embed_dim",),
    "nhead": ("num_heads",),
    "dim_feedforward": ("hidden_dim",),
    "T_max": ("num_steps",),
    "total_iters": ("num_steps",),
    "lr_lambda": ("function",),
    "anneal_strategy": ("anneal",),
    "collate_fn": ("collate",),
    "prefetch_factor": ("prefetch",),
    "num_replicas": ("world_size",),
    "obj": ("value",),
    "f": ("path",),
    "size_average": ("reduction",),
    "reduce": ("reduction",),
}

# Where the rule above would pick the wrong parameter, by function.
EXCEPTIONS: Mapping[str, Mapping[str, str]] = {
    **{name: {"x1": "a", "x2": "b"} for name in ("cosine_similarity", "cdist", "pairwise_distance")},
    "margin_ranking_loss": {"input1": "a", "input2": "b"},
    "atan2": {"input": "y", "other": "x"},
    **{name: {"tensor1": "first", "tensor2": "second"} for name in ("addcmul_", "addcdiv_")},
    **{name: {"from": "low", "to": "high"} for name in ("uniform_", "random_")},
    "searchsorted": {"values": "x"},
    **{name: {"generator": "seed"} for name in ("random_split", "DataLoader")},
    **{f"{kind}RandomSampler": {"generator": "seed"} for kind in ("", "Subset", "Weighted")},
    "to": {"device": "target", "dtype": "target"},
    # The collectives of torch.distributed. Ranks named group_src and group_dst count in the group.
    "dist.all_reduce": {"tensor": "x"},
    "dist.broadcast": {"tensor": "x", "group_src": "root"},
    "dist.reduce": {"tensor": "x", "group_dst": "root"},
    "dist.all_gather": {"tensor_list": "x", "tensor": "source"},
    "dist.gather": {"tensor": "x", "gather_list": "places", "group_dst": "root"},
    "dist.scatter": {"tensor": "x", "scatter_list": "parts", "group_src": "root"},
    "dist.reduce_scatter": {"output": "x", "input_list": "parts"},
    "dist.all_to_all": {"output_tensor_list": "x", "input_tensor_list": "parts"},
    "dist.all_gather_into": {"output_tensor": "place", "input_tensor": "x"},
    "dist.reduce_scatter_into": {"output": "place", "input": "x"},
    "dist.all_to_all_into": {"output": "place", "input": "x"},
    **{key: {"tensor": "x", "group_dst": "destination"} for key in ("dist.send", "dist.isend")},
    **{key: {"tensor": "x", "group_src": "source"} for key in ("dist.recv", "dist.irecv")},
    "dist.broadcast_object_list": {"object_list": "values", "group_src": "root"},
    "dist.all_gather_object": {"object_list": "value", "obj": "other"},
    "dist.gather_object": {"obj": "value", "object_gather_list": "places", "group_dst": "root"},
    "dist.scatter_object_list": {
        "scatter_object_output_list": "place", "scatter_object_input_list": "values", "group_src": "root",
    },
}  # fmt: skip


def _seed_from(generator: Any) -> int:
    """A seed drawn from a generator, so that its next use gives another; the usual one for None."""
    if generator is None:
        return 0
    if not hasattr(generator, "manual_seed"):
        raise TypeError(expected("generator", "a dt.Generator or None", type(generator).__name__, "a number is seed="))
    return int(generator.randint(0, 2**62).item())


# Values that mean something else here.
CONVERTED: Mapping[str, Callable[[Any], Any]] = {
    "generator": _seed_from,
    "size_average": lambda average: "mean" if average is None or average else "sum",
    "reduce": lambda reduce: "mean" if reduce is None or reduce else "none",
    "unbiased": lambda unbiased: int(bool(unbiased)),
    "p": lambda p: 2 if p == "fro" else p,
}

_ACTIVATIONS = ("relu", "relu6", "leaky_relu", "elu", "silu", "hswish", "hsigmoid", "dropout", "dropout2d")
_OPTIMIZERS = ("SGD", "Adam", "AdamW")
_ENDED = (
    "dist.reduce", "dist.gather", "dist.scatter", "dist.reduce_scatter", "dist.all_to_all", "dist.all_gather_into",
    "dist.reduce_scatter_into", "dist.all_to_all_into",
)  # fmt: skip
_OBJECTS = ("dist.broadcast_object_list", "dist.all_gather_object", "dist.gather_object", "dist.scatter_object_list")
_CONVOLUTIONS = ("Conv1d", "Conv2d", "ConvTranspose2d")
_SCHEDULES = (
    "StepLR", "MultiStepLR", "ExponentialLR", "CosineAnnealingLR", "OneCycleLR", "LambdaLR", "LinearWarmup", "LinearLR",
    "ConstantLR", "PolynomialLR", "CosineAnnealingWarmRestarts", "SequentialLR",
)  # fmt: skip
_COPIES = (
    "to", "contiguous", "clone", "copy", "cpu", "cuda", "float", "double", "half", "bfloat16", "int", "long", "short",
    "bool", "byte", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like",
)  # fmt: skip
ANY = object()

# Taken and not needed here: keyword -> (functions, the values that change nothing, what to do instead of others).
WITHOUT_EFFECT: Mapping[str, tuple[tuple[str, ...], tuple[Any, ...], str]] = {
    "inplace": (_ACTIVATIONS, (ANY,), ""),
    "pin_memory": (("DataLoader",), (ANY,), ""),
    "persistent_workers": (("DataLoader",), (ANY,), ""),
    "multiprocessing_context": (("DataLoader",), (None, "fork"), "workers are forked"),
    "set_to_none": (("zero_grad",), (True,), "gradients are None after zero_grad()"),
    "non_blocking": (("to", "cuda", "copy_"), (ANY,), ""),
    "memory_format": (_COPIES, (ANY,), ""),
    "map_location": (("load",), (ANY,), ""),
    "weights_only": (("load",), (ANY,), ""),
    "foreach": (_OPTIMIZERS, (ANY,), ""),
    "fused": (_OPTIMIZERS, (ANY,), ""),
    "capturable": (_OPTIMIZERS, (ANY,), ""),
    "differentiable": (_OPTIMIZERS, (False,), "steps are not differentiable"),
    "last_epoch": (_SCHEDULES, (-1,), "load_state_dict() goes on where a schedule was"),
    "verbose": (_SCHEDULES, (False, "deprecated"), "print scheduler.get_last_lr()"),
    "padding_mode": (_CONVOLUTIONS, ("zeros",), "pad with F.pad first"),
    "create_graph": (("backward",), (False,), "write dt.grad(y, x, create_graph=True)"),
    "only_inputs": (("grad",), (True,), "leave it out: no other gradients are computed"),
    "is_grads_batched": (("grad",), (False,), "call grad for each row"),
    "recurse": (
        ("parameters", "named_parameters", "buffers", "named_buffers"),
        (True,),
        "write module.members()",
    ),
    "keep_vars": (("state_dict",), (False,), "write dict(module.named_parameters())"),
    "sparse": (("Embedding", "embedding"), (False,), "gradients are dense"),
    "async_op": (_ENDED, (False,), "leave async_op and wait() out: the result is there when the call returns"),
    "output_split_sizes": (("dist.all_to_all_into",), (None,), "blocks are equal: pad them, or write dist.all_to_all"),
    "input_split_sizes": (("dist.all_to_all_into",), (None,), "blocks are equal: pad them, or write dist.all_to_all"),
    "device": (_OBJECTS, (ANY,), ""),
    "compute_mode": (("cdist",), (ANY,), ""),
    "enable_nested_tensor": (("TransformerEncoder",), (ANY,), ""),
    "mask_check": (("TransformerEncoder",), (ANY,), ""),
}

# Layers that take device= and dtype=: what they are made of is moved and cast when it is there.
PLACED = (
    "Linear", "Conv1d", "Conv2d", "ConvTranspose2d", "BatchNorm", "BatchNorm1d", "BatchNorm2d", "SyncBatchNorm",
    "InstanceNorm", "LayerNorm", "GroupNorm", "RMSNorm", "Embedding", "PReLU",
    "Attention", "MultiheadAttention", "TransformerEncoderLayer", "TransformerDecoderLayer", "Transformer",
)  # fmt: skip

# Options of ours that PyTorch takes by position, in its order.
POSITIONAL: Mapping[str, tuple[str, ...]] = {
    "Linear": ("bias",),
    "Conv1d": ("bias",),
    "Conv2d": ("bias",),
    "ConvTranspose2d": ("bias",),
    "BatchNorm": ("affine", "track_running_stats"),
    "BatchNorm1d": ("affine", "track_running_stats"),
    "BatchNorm2d": ("affine", "track_running_stats"),
    "InstanceNorm": ("affine", "track_running_stats"),
    "GroupNorm": ("affine",),
    "LayerNorm": ("affine",),
    "RMSNorm": ("affine",),
    "Attention": (
        "dropout",
        "bias",
        "add_bias_kv",
        "add_zero_attn",
        "kdim",
        "vdim",
        "batch_first",
    ),
    "SGD": ("momentum", "dampening", "weight_decay", "nesterov"),
    "Adam": ("betas", "eps", "weight_decay", "amsgrad"),
    "AdamW": ("betas", "eps", "weight_decay", "amsgrad"),
    "DataLoader": ("shuffle", "sampler", "batch_sampler", "num_workers", "collate"),
    "register_buffer": ("persistent",),
    "grad": ("retain_graph", "create_graph"),
    "load_state_dict": ("strict",),
    **dict.fromkeys(("var", "std", "var_mean", "std_mean"), ("correction", "keepdims")),
    **dict.fromkeys(("dropout", "dropout2d"), ("training",)),
    **dict.fromkeys(("cross_entropy", "nll_loss", "binary_cross_entropy", "CrossEntropyLoss", "NLLLoss"), ("weight",)),
    **dict.fromkeys(("sum", "mean", "prod", "max", "min", "any", "all", "logsumexp", "norm"), ("keepdims",)),
    **dict.fromkeys(
        (
            "dist.all_reduce", "dist.broadcast", "dist.reduce", "dist.all_gather", "dist.gather", "dist.scatter",
            "dist.reduce_scatter", "dist.all_to_all", "dist.all_gather_into", "dist.reduce_scatter_into",
            "dist.all_to_all_into", "dist.send", "dist.recv", "dist.isend", "dist.irecv", *_OBJECTS,
        ),
        ("group", "async_op", "tag"),
    ),
    **dict.fromkeys(("argmax", "argmin", "amax", "amin", "median", "mode"), ("keepdims",)),
}  # fmt: skip

# Methods of classes that are spelled too.
METHODS = (
    "to", "zero_grad", "register_buffer", "load_state_dict", "state_dict", "parameters", "named_parameters", "buffers",
    "named_buffers",
)  # fmt: skip

# What to say to keywords that are nowhere translated.
ADVICE: Mapping[str, str] = {
    "device": "move it with .to(device)",
    "dtype": "cast it with .to(dtype)",
    "out": "write x.copy_(result)",
    "generator": "write seed=",
}
