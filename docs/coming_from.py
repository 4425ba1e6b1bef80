"""Writes docs/coming-from.md from the tables of the product: `python docs/coming_from.py`.

What stands in the page besides tables stands here; a test holds that the page is what this prints.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dtrain import nn
from dtrain.base import flag_names, keywords, names

PAGE = Path(__file__).with_name("coming-from.md")

HEAD = """\
# Coming from PyTorch, Horovod, torchrun, mpirun

A script of PyTorch or Horovod runs here when its imports are changed. Words that mean the same work; where a word means
something else, or is not here, the error says what to write instead. This page is made from the tables behind both
(`dtrain/base/names.py`, `dtrain/base/keywords.py`), by `python docs/coming_from.py`.

## Imports

In an import line write `dtrain` for `torch`. Where that is not all, and for some examples:
"""

DIFFERENCES = """\
## The five differences that matter

**1. Gradients are averaged over samples, not over ranks.** Ranks may have batches of different sizes, also none; two
ranks with 3 and 5 samples train as one process with 8. So leave out every `loss / world_size`, and scale the learning
rate as for one large batch. `dtrain.collectives.horovod` averages over ranks, as Horovod does.

A `DistributedSampler` gives every sample once, where PyTorch's repeats some until all ranks have as many. So a rank's
last batch may be smaller than the others', or empty, of which the loader warns: a mean over it is nan. Add up sums and
counts over the ranks, as most evaluations do, or write `drop_last=True`.

**2. A collective is an expression; as a statement it changes its tensor.**

```python
import dtrain as dt
from dtrain import collectives as dist

dist.init()
x = dt.tensor([1.0, 2.0])
total = dist.all_reduce(x)  # a new tensor; x stays as it is, and gradients flow through
dist.all_reduce(x)  # nobody takes the result: now x holds it, as in PyTorch
```

**3. Functions of `F` follow NumPy, methods follow PyTorch.** `F.max(x, axis=1)` is a tensor, `x.max(1)` and
`dt.max(x, 1)` are (values, indices); `F.repeat` repeats elements, `x.repeat` the whole; `F.equal` compares elements,
`x.equal(y)` says whether all are equal; `F.squeeze(x, 1)` refuses an axis of another size than 1, `x.squeeze(1)` and
`dt.squeeze(x, 1)` leave it; `F.normal` and `F.bernoulli` take a shape first, `dt.normal` and `dt.bernoulli` tensors of
parameters.

```python
import dtrain as dt
import dtrain.functional as F

x = dt.tensor([[1.0, 5.0], [7.0, 3.0]])
assert F.max(x, axis=1).tolist() == [5.0, 7.0]
values, indices = x.max(dim=1)
assert indices.tolist() == [1, 0]
```

**4. `dt.seed` gives each rank numbers of its own, `dt.manual_seed` gives all the same.** The first is right for dropout
and augmentation, the second does what PyTorch's does. Models need neither: `data_parallel` gives every rank rank 0's.

**5. Ranks are started by `dtrain run`, and files hold data only.** There is no `spawn`, and `init_process_group` needs
neither rank nor address. `dt.save` and `checkpoint.save` write safetensors: nested dicts and lists of tensors, numbers
and texts, no pickled objects, so that reading a file runs no code.

## Masks of attention

A boolean mask means what it means in PyTorch at the same place, and both forms of it, bool and numbers to add, work.
`nn.MultiheadAttention`, `nn.TransformerEncoderLayer`, `nn.TransformerDecoderLayer`, the stacks of them and
`nn.Transformer` block where it is True (`attn_mask`, `key_padding_mask`, `src_mask`, `mask` …), and take batches second
unless `batch_first=True`; `F.scaled_dot_product_attention` allows where it is True. `nn.Attention` is a class of ours:
batches first, the output alone, and a `mask` that is True where attention is allowed, as in
`F.scaled_dot_product_attention`; its `attn_mask` and `key_padding_mask` are PyTorch's.
"""


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def code(text: str) -> str:
    """Set as code, but for what is said in words."""
    return text if text.startswith(("leave", "set ", "run ", "write")) else f"`{text}`"


def keyword_rows() -> list[tuple[str, ...]]:
    return [(f"`{word}`", ", ".join(f"`{own}`" for own in ours)) for word, ours in keywords.KEYWORDS.items()]


def exception_rows() -> list[tuple[str, ...]]:
    return [
        (f"`{name}`", ", ".join(f"`{theirs}` `{own}`" for theirs, own in words.items()))
        for name, words in keywords.EXCEPTIONS.items()
    ]


def ignored_rows() -> list[tuple[str, ...]]:
    rows = []
    for word, (functions, values, advice) in keywords.WITHOUT_EFFECT.items():
        taken = "any" if keywords.ANY in values else ", ".join(f"`{value!r}`" for value in values)
        rows.append((f"`{word}`", ", ".join(f"`{name}`" for name in functions), taken, advice))
    return rows


def placed() -> str:
    # The row of a base that is not public is that of the layers made of it: InstanceNorm1d and its kind.
    public = [[name] if hasattr(nn, name) else [word for word in vars(nn) if name in word] for name in keywords.PLACED]
    layers = ", ".join(f"`{name}`" for group in public for name in group)
    return f"Constructors that take `device` and `dtype`, for what the layer is made of: {layers}.\n"


def name_rows(table_of: str) -> list[tuple[str, ...]]:
    shown = {"Tensor": "x", "Module": "module", "dt": "torch"}
    rows = []
    for place, words in getattr(names, table_of).items():
        for word, target in sorted(words.items()):
            if table_of == "HINTS" or target != f"F.{word}":
                rows.append((f"`{shown.get(place, place)}.{word}`", target if table_of == "HINTS" else f"`{target}`"))
    return rows


def same_names() -> str:
    parts = []
    for place, text in (
        ("dt", "Functions that stand at the top level, too"),
        ("Tensor", "Functions that are methods, too"),
    ):
        words = sorted(word for word, target in names.ALIASES[place].items() if target == f"F.{word}")
        parts.append(f"{text}: " + ", ".join(f"`{word}`" for word in words) + ".\n")
    return "\n".join(parts)


def flag_rows() -> list[tuple[str, ...]]:
    rows = []
    for starter, flags in flag_names.FLAGS.items():
        rows += [(starter, f"`{flag}`", code(ours)) for flag, ours in flags.items()]
    return rows


def page() -> str:
    """The whole page."""
    parts = [
        HEAD,
        table(("there", "here"), [(f"`{theirs}`", f"`{ours}`") for theirs, ours in names.IMPORTS.items()]),
        DIFFERENCES,
        "## Keywords\n\nBoth spellings work, in every function and constructor that has the parameter.\n",
        table(("theirs", "ours: the first that the function has"), keyword_rows()),
        "Of single functions:\n",
        table(("function", "theirs and ours"), exception_rows()),
        "Taken, and without effect:\n",
        table(("keyword", "of", "values", "for others"), ignored_rows()),
        placed(),
        "## Names that mean the same\n\nThese work; the right column is what they are here.\n",
        table(("theirs", "here"), name_rows("ALIASES")),
        same_names(),
        "## Names that do not\n\nUsing one raises an error with this text.\n",
        table(("theirs", "instead"), name_rows("HINTS")),
        "## Starting ranks\n",
        "Flags that `dtrain run` has too are taken; at the others its error says what stands on the right.\n",
        table(("from", "flag there", "flag of `dtrain run`"), flag_rows()),
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"wrote {PAGE.name}\n")
