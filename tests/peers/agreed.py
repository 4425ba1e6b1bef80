"""Differences that are meant, each with its reason. What is not here and differs fails."""

from __future__ import annotations

import re
from typing import NamedTuple


class Agreed(NamedTuple):
    """Samples of an operator (a pattern of its name, or "*") whose outcome matches `pattern` are meant to be so."""

    operator: str
    pattern: str
    reason: str


# What our functions refuse and PyTorch takes.
REFUSED: tuple[Agreed, ...] = (
    Agreed("*", "expected a tensor with at least one axis", "a tensor without axes has no axis 0 or -1 to name"),
    Agreed(
        "*",
        r"expected (a floating dtype|inputs of dtype .*), got (bool|[us]\d+)",
        "functions of real numbers take floats: integers and bools are cast where the user sees it",
    ),
    Agreed("*", "expected integers to powers of at least 0", "NumPy's rule; PyTorch gives 0 for 2 ** -1 of integers"),
    Agreed("movedim", "expected an axis as an int", "one axis at a time; permute moves several"),
    Agreed("squeeze", "expected axis .* of size 1", "NumPy's rule: an axis that stays is no axis that goes"),
    Agreed("repeat_interleave", "expected repeats as an int", "one number for all elements"),
    Agreed("cat", "concat: expected", "an empty vector is no part of a matrix; PyTorch keeps it for old scripts"),
    *(
        Agreed(name, "got (True|False) of type bool|correction as a number", "`unbiased` and correction by name only")
        for name in ("var", "std", "var_mean", "std_mean")
    ),
    Agreed("norm", "ord as a number, got 'nuc'", "norms are of vectors"),
    Agreed("linalg.vector_norm|logsumexp", "expected at least one element along", "nothing has no largest element"),
    Agreed("where", "expected a bool condition", "a condition is bool; PyTorch keeps uint8 for old scripts"),
    Agreed("narrow", "expected start of at least 0", "starts count from the front"),
    Agreed("masked_select", "broadcast_to: expected", "a mask broadcasts to the tensor, not the tensor to the mask"),
    Agreed("gather", "expected an index of", "as many axes as the tensor, also where the index is empty"),
    Agreed("randint", "random_integers: expected dtype", "integers are drawn as integers; cast them"),
    Agreed("nn.functional.one_hot", "expected num_classes", "a width that depends on data has no shape in a trace"),
    Agreed("nn.functional.smooth_l1_loss", "expected a positive beta", "l1_loss is the function of beta 0"),
    Agreed("nn.functional.avg_pool2d", r"expected (stride|padding) as an int or two", "a size or a pair of them"),
    Agreed("nn.functional.pad", "in mode replicate", "an axis of size 0 has no edge to repeat"),
    Agreed("nn.functional.batch_norm", "of at least 2 axes", "samples and channels: a vector has no channels"),
    Agreed(
        "nn.functional.conv_transpose2d",
        "conv2d_backward_data: expected dy of shape",
        "output_padding is below the stride: it chooses among the input sizes of one convolution",
    ),
)

_NAN = "a NaN stays visible in the gradient; PyTorch lets 0, or the gradient, through"
_F32_CONSTANT = "PyTorch multiplies by a constant that was rounded to f32"
_S32 = "places in a plane are s32: half the memory that the backward pass keeps"
_TIES = "of equal values any index is right"

# What comes out otherwise.
DIFFERENT: tuple[Agreed, ...] = (
    *(Agreed(name, "^result 1: [0-9]+ at", _TIES) for name in ("topk", "kthvalue", "mode", "median", "sort")),
    Agreed("*", "^gradient: (result [0-9]: )?nan at .* theirs [-0-9.e]+", _NAN),
    Agreed("sign", "^nan at .*, theirs 0.0", "the sign of NaN is NaN, as everywhere in NumPy"),
    Agreed("clamp_max", "^gradient", "where a limit or a number is NaN, what is NaN takes the gradient"),
    Agreed("clamp_min", "^gradient", "where a limit or a number is NaN, what is NaN takes the gradient"),
    Agreed("nn.functional.relu", "^gradient: 0.0", "the gradient at NaN is 0: the value is NaN already"),
    Agreed("nn.functional.relu6", "^gradient: 0.0", "the gradient at NaN is 0: the value is NaN already"),
    Agreed("nn.functional.hardtanh", "^gradient", "at a limit both 0 and 1 are slopes; clip has 1"),
    Agreed("nn.functional.hardtanh", "^dtype", "limits that are no integers make floats of integers"),
    Agreed("nn.functional.celu", "^gradient", _F32_CONSTANT),
    Agreed("nn.functional.hardsigmoid", "^gradient", _F32_CONSTANT),
    Agreed("nn.functional.(adaptive_)?max_pool[12]d", "^result 1: dtype", _S32),
    Agreed("take_along_dim", "^shape", "without an axis the last one, NumPy's default; PyTorch flattens"),
    Agreed(
        "nn.functional.scaled_dot_product_attention",
        r"^gradient: .*\([1-9] of 96 apart",
        "logits of some hundred in f32: the order of sums shows in the fifth digit",
    ),
    Agreed("all", "^dtype dtrain.bool_, theirs torch.uint8", "truth is bool; PyTorch keeps uint8 for old scripts"),
    Agreed("any", "^dtype dtrain.bool_, theirs torch.uint8", "truth is bool; PyTorch keeps uint8 for old scripts"),
    Agreed("arange", "", "NumPy's rule: floats are stepped, then cast; PyTorch casts start, stop and step first"),
    Agreed("linspace", "", "NumPy's rule: numbers are spaced as floats, then cast; PyTorch spaces integers"),
    Agreed("diagonal", "^shape", "of the last two axes, as linalg.diagonal has it; PyTorch takes the first two"),
    Agreed("nn.functional.triplet_margin_loss", "", "PyTorch adds 1e-6 to every difference under the norm"),
    Agreed("nn.functional.margin_ranking_loss", "theirs [0-9.]+ ", "unsigned differences wrap in PyTorch's order"),
)

# What PyTorch refuses and our functions take; the pattern is searched in the arguments.
TAKEN: tuple[Agreed, ...] = (
    Agreed("*", r"^(2, 3|2, int64\[3\]|int64\[3\], 2)$", "Python numbers are operands of every op, as in NumPy"),
    Agreed("arange", "", "a range that leads away from its stop is empty, as in Python and NumPy"),
    Agreed("nn.NLLLoss", "weight': tensor", "weights of another float dtype are promoted, as operands of every op"),
    Agreed("mean", r"^int64\[", "means of integers are f32, as of every function of real numbers"),
)

# The same of modules.
REFUSED_BY_MODULES: tuple[Agreed, ...] = (
    Agreed("nn.(Softmax|LogSoftmax|Softmin)", "expected a tensor with at least one axis", REFUSED[0].reason),
    Agreed("nn.Transformer(En|De)coder", "ModuleList: expected modules", "the sample hands in a module of PyTorch's"),
    Agreed(
        "nn.Transformer(En|De)coderLayer", r"gelu\(\): argument 'input'", "the sample hands in a function of PyTorch's"
    ),
    Agreed("nn.InstanceNorm2d", "multiple values|positional", "there is no momentum: no running statistics"),
)
DIFFERENT_MODULES: tuple[Agreed, ...] = (
    Agreed("nn.MaxPool[12]d", "^result 1: dtype", _S32),
    Agreed(
        "nn.MultiheadAttention",
        r"^gradient: result 0: .*\([1-3] of 9 apart\)",
        "gradients of scores cancel to the fifth digit in f32, three queries of three heads; f64 is equal",
    ),
)


def reason_of(listed: tuple[Agreed, ...], operator: str, text: str) -> str:
    """The reason for an outcome, "" if none is listed."""
    for entry in listed:
        if (entry.operator == "*" or re.fullmatch(entry.operator, operator)) and re.search(
            entry.pattern, text, re.DOTALL
        ):
            return entry.reason
    return ""
