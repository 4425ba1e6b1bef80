"""Differences that are meant, each with its reason. Others fail, and so does an entry that matches nothing.

An entry says three things at once: which operators, what comes out (a pattern that is searched in its words), and of
which arguments (`when`, called with the arguments of the sample as PyTorch has them).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

from peers.exchange import FLOATS, leaves_of


def always(*arguments: Any, **keywords: Any) -> bool:
    """Of all arguments: the pattern alone is narrow enough."""
    return True


class Agreed(NamedTuple):
    """Samples of these operators (words, or "*" for all) whose outcome matches `pattern` are meant to be so."""

    operators: str
    pattern: str
    reason: str
    when: Callable[..., bool] = always

    def concerns(self, operator: str) -> bool:
        return self.operators == "*" or operator in self.operators.split()

    def fits(self, operator: str, text: str, sample: Any) -> bool:
        return (
            self.concerns(operator)
            and re.search(self.pattern, text, re.DOTALL) is not None
            and (sample is None or self.when(sample.input, *sample.args, **sample.kwargs))
        )


MATCHED: set[Agreed] = set()


def reason_of(listed: Collection[Agreed], operator: str, text: str, sample: Any = None) -> str:
    """The reason for an outcome, "" if none is listed."""
    for entry in listed:
        if entry.fits(operator, text, sample):
            MATCHED.add(entry)
            return entry.reason
    return ""


def unmatched(listed: Collection[Agreed], tried: Collection[str], everything: Collection[str]) -> list[str]:
    """Entries that match nothing, in words, of those whose operators (of `everything`) have all been tried."""
    left = [entry for entry in listed if entry not in MATCHED]
    return [
        f"{entry.operators}: {entry.pattern or entry.reason}"
        for entry in left
        if {name for name in everything if entry.concerns(name)} <= set(tried)
    ]


# Of which arguments ---------------------------------------------------------------------------------------------------


def _tensors(arguments: Any, keywords: Any) -> Iterator[Any]:
    import torch

    yield from leaves_of([arguments, keywords], torch.Tensor)


def integers(*arguments: Any, **keywords: Any) -> bool:
    """No tensor of floats among them."""
    return not any(tensor.dtype in FLOATS for tensor in _tensors(arguments, keywords))


def unsigned(x: Any, *rest: Any, **keywords: Any) -> bool:
    """Of uint8."""
    return str(x.dtype) == "torch.uint8"


def double(x: Any, *rest: Any, **keywords: Any) -> bool:
    """Of float64."""
    return str(x.dtype) == "torch.float64"


def with_nan(*arguments: Any, **keywords: Any) -> bool:
    """With a NaN among the numbers."""
    return any(bool(tensor.isnan().any()) for tensor in _tensors(arguments, keywords) if tensor.dtype in FLOATS)


def without_elements(x: Any, *rest: Any, **keywords: Any) -> bool:
    """Of a tensor without elements."""
    return any(tensor.numel() == 0 for tensor in _tensors((x, *rest), keywords))


def cast_to_integers(*arguments: Any, dtype: Any = None, **keywords: Any) -> bool:
    """To a dtype of integers."""
    return dtype is not None and not dtype.is_floating_point


def at_a_limit(x: Any, *rest: Any, min_val: float = -1.0, max_val: float = 1.0, **keywords: Any) -> bool:
    """With an element that is one of the limits."""
    return bool(((x == min_val) | (x == max_val)).any())


# What our functions refuse and PyTorch takes.
REFUSED: tuple[Agreed, ...] = (
    Agreed(
        "*",
        r"expected (a floating dtype|inputs of dtype .*), got (bool|[us]\d+)",
        "functions of real numbers take floats: integers and bools are cast where the user sees it",
        integers,
    ),
    Agreed("__rpow__", "integers to powers of at least 0", "NumPy's rule; PyTorch gives 0 for 2 ** -1", integers),
    Agreed(
        "nn.functional.layer_norm nn.functional.group_norm nn.functional.rms_norm",
        "expected eps of at least 0",
        "an eps below 0 makes NaN of what varies less",
    ),
    Agreed(
        "nn.functional.interpolate",
        "expected floats in mode",
        "between integers there is nothing: they are cast where the user sees it",
        integers,
    ),
    Agreed("cat", "concat: expected", "an empty vector is no part of a matrix; PyTorch keeps it for old scripts"),
    Agreed(
        "add sub index_add",
        r"a number in \[0, 255\] beside",
        "a negative alpha of unsigned integers is refused",
        unsigned,
    ),
    Agreed("arange", r"expected numbers from 0 to 255 for dtype u8, got -\d", "numbers below 0 would wrap"),
    Agreed("norm", "ord as a number, got 'nuc'", "norms are of vectors"),
    Agreed(
        "linalg.vector_norm logsumexp", "at least one element along", "nothing has no largest element", without_elements
    ),
    Agreed("gather", "expected an index of", "as many axes as the tensor, also where the index is empty"),
    Agreed("nn.functional.avg_pool2d", r"expected (stride|padding) as an int or two", "a size or a pair of them"),
    Agreed(
        "nn.functional.pad",
        r"on axis \d of \w+\[[\d,]*\b0\b.* in mode replicate",
        "an axis of size 0 has no edge to repeat",
    ),
    Agreed("nn.functional.batch_norm", "of at least 2 axes", "samples and channels: a vector has no channels"),
    Agreed(
        "nn.functional.conv_transpose2d",
        "conv2d_backward_data: expected dy of shape",
        "output_padding is below the stride: it chooses among the input sizes of one convolution",
    ),
)


# What comes out otherwise.
DIFFERENT: tuple[Agreed, ...] = (
    Agreed(
        "nn.functional.relu nn.functional.relu6 nn.functional.elu nn.functional.selu nn.functional.celu "
        "nn.functional.hardtanh nn.functional.hardsigmoid nn.functional.margin_ranking_loss abs max min maximum",
        "^gradient: (result [0-9]: )?nan at .* theirs [-0-9.e]+",
        "a NaN stays visible in the gradient; PyTorch lets 0, or the gradient, through",
        with_nan,
    ),
    Agreed("clamp_max", "^gradient", "where a limit or a number is NaN, what is NaN takes the gradient", with_nan),
    Agreed(
        "baddbmm", "^dtype", "factors that are no integers make floats of integers; PyTorch cuts them off", integers
    ),
    Agreed("sign", "^nan at .*, theirs 0.0", "the sign of NaN is NaN, as everywhere in NumPy", with_nan),
    Agreed(
        "nn.functional.hardtanh",
        "^gradient: 1.0[0-9e-]* at|^gradient: [01]",
        "at a limit both 0 and 1 are slopes; clip has 1",
        at_a_limit,
    ),
    Agreed("nn.functional.hardtanh", "^dtype", "limits that are no integers make floats of integers", integers),
    Agreed(
        "nn.functional.celu nn.functional.hardsigmoid",
        "^gradient",
        "PyTorch multiplies by a constant that was rounded to f32",
        double,
    ),
    Agreed(
        "nn.functional.scaled_dot_product_attention",
        r"^gradient: .*\([1-9] of 96 apart",
        "logits of some hundred in f32: the order of sums shows in the fifth digit",
    ),
    Agreed(
        "all any",
        "^dtype dtrain.bool_, theirs torch.uint8",
        "truth is bool; PyTorch keeps uint8 for old scripts",
        unsigned,
    ),
    Agreed(
        "arange",
        "^[0-9-]+ at|^shape",
        "NumPy's rule: floats are stepped, then cast; PyTorch casts them first",
        cast_to_integers,
    ),
    Agreed(
        "linspace",
        "^[0-9-]+ at",
        "NumPy's rule: numbers are spaced as floats, then cast; PyTorch spaces integers",
        cast_to_integers,
    ),
    Agreed(
        "nn.functional.softmin", "^[0-9.e-]+ at", "PyTorch negates before it casts: unsigned numbers wrap", unsigned
    ),
    Agreed(
        "nn.functional.margin_ranking_loss", "theirs [0-9.]+ ", "unsigned differences wrap in PyTorch's order", unsigned
    ),
)

# What PyTorch refuses and our functions take; the pattern is searched in the arguments.
TAKEN: tuple[Agreed, ...] = (
    Agreed("*", r"^(2, 3|2, int64\[3\]|int64\[3\], 2)$", "Python numbers are operands of every op, as in NumPy"),
    Agreed("arange", "", "a range that leads away from its stop is empty, as in Python and NumPy"),
    Agreed("nn.NLLLoss", "weight': tensor", "weights of another float dtype are promoted, as operands of every op"),
    Agreed("multinomial", r"^int64\[", "counts are weights: they are cast to f64"),
    Agreed("mean", r"^int64\[", "means of integers are f32, as of every function of real numbers"),
)

# The same of modules.
REFUSED_BY_MODULES: tuple[Agreed, ...] = (
    Agreed(
        "nn.TransformerEncoder nn.TransformerDecoder",
        "ModuleList: expected modules",
        "the sample hands in a module of PyTorch's",
    ),
    Agreed(
        "nn.TransformerEncoderLayer nn.TransformerDecoderLayer",
        r"gelu\(\): argument 'input'",
        "the sample hands in a function of PyTorch's",
    ),
)
DIFFERENT_MODULES: tuple[Agreed, ...] = (
    Agreed(
        "nn.MultiheadAttention",
        r"^gradient: result 0: .*\([1-3] of 9 apart\)",
        "gradients of scores cancel to the fifth digit in f32, three queries of three heads; f64 is equal",
    ),
)
