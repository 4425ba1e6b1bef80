"""Attention of several heads (Vaswani et al. 2017)."""

from __future__ import annotations

import math
from typing import Any

import dtrain.functional as F
from dtrain.base.device import CPU, DeviceLike
from dtrain.base.errors import ShapeError, expected
from dtrain.core.tensor import Parameter, Tensor
from dtrain.core.tensor_factory import zeros
from dtrain.nn import init
from dtrain.nn.linear import Linear
from dtrain.nn.module import Module


class Attention(Module):
    """Attention of query[N, L, E] to key[N, S, kdim] and value[N, S, vdim] in num_heads parts of E; gives [N, L, E].

    in_proj_weight[3E, E] stacks the projections of query, key and value. Where keys or values have other sizes,
    q_proj_weight[E, E], k_proj_weight[E, kdim] and v_proj_weight[E, vdim] stand for it. One sample needs no N.
    `nn.MultiheadAttention` is called as PyTorch's is: batches second, weights beside the output, masks that block.

    Args:
        dropout: probability with which an attention weight is dropped in training.
        add_bias_kv: attend to one more key and value as well, which are trained (bias_k and bias_v).
        add_zero_attn: attend to one more key and value of zeros.
        kdim, vdim: sizes of keys and values, E unless given.
        batch_first: whether the batch is axis 0; otherwise query, key, value and output are [length, N, size].
    """

    in_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = True,
    ) -> None:
        if num_heads < 1 or embed_dim % num_heads:
            given = f"{embed_dim} in {num_heads} heads"
            raise ShapeError(expected(type(self).__name__, "embed_dim that divides into heads", given))
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.kdim, self.vdim = (embed_dim if size is None else size for size in (kdim, vdim))
        self.add_zero_attn, self.batch_first = add_zero_attn, batch_first
        sizes = (embed_dim, self.kdim, self.vdim)
        if min(sizes) < 1:
            raise ShapeError(expected(type(self).__name__, "sizes of at least 1", str(sizes)))
        is_packed = set(sizes) == {embed_dim}
        self.in_proj_weight = _weight(3 * embed_dim, embed_dim) if is_packed else None
        self.q_proj_weight, self.k_proj_weight, self.v_proj_weight = (
            None if is_packed else _weight(embed_dim, size) for size in sizes
        )
        self.in_proj_bias = Parameter(zeros((3 * embed_dim,))) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)
        self.bias_k, self.bias_v = (_further(embed_dim) if add_bias_kv else None for _ in "kv")

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        is_causal: bool = False,
        need_weights: bool = False,
        average_attn_weights: bool = True,
        attn_mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
    ) -> Any:
        """Attend to `key` (default query) and `value` (default key).

        Args:
            mask: broadcast to [N, heads, L, S]; bool: True where attention is allowed, else added to the scores.
            is_causal: position i attends to positions up to i only.
            need_weights: give (output, weights) with the weights [N, L, S] that each query gave to the keys.
            average_attn_weights: the mean over the heads; otherwise the weights are [N, heads, L, S].
            attn_mask: [L, S] or [N · heads, L, S], PyTorch's: bool True where attention is blocked, else added.
            key_padding_mask: [N, S], or [S] of one sample, PyTorch's: bool True at keys to leave out, else added.
        """
        key = query if key is None else key
        value = key if value is None else value
        is_single = query.ndim == 2
        q, k, v = (self._split_heads(part) for part in self._project(*self._as_batches(query, key, value, is_single)))
        # Scaled before the product, whose sums may leave the range of a short float.
        scores = F.matmul(q * (1 / math.sqrt(q.shape[-1])), k, transpose_b=True)
        further = k.shape[2] - key.shape[1 if self.batch_first and not is_single else 0]
        size = (q.shape[0], self.num_heads, q.shape[2], k.shape[2] - further)
        masks = [
            mask,
            blocking_mask("attn_mask", attn_mask, size),
            blocking_mask("key_padding_mask", key_padding_mask, size),
        ]
        if is_causal:
            masks.append(causal_mask(size[2], size[3], scores.device))
        for one in masks:
            if one is not None:
                one = _widened(one, further)
                scores = F.where(one, scores, -math.inf) if one.dtype.kind == "bool" else scores + one
        weights = F.dropout(F.softmax(scores, -1), self.dropout, training=self.training)
        output = self.out_proj(F.flatten(F.permute(F.matmul(weights, v), 0, 2, 1, 3), 2))
        output = output[0] if is_single else output if self.batch_first else F.swap_axes(output, 0, 1)
        if not need_weights:
            return output
        shown = F.mean(weights, 1) if average_attn_weights else weights
        return output, shown[0] if is_single else shown

    def _as_batches(self, query: Tensor, key: Tensor, value: Tensor, is_single: bool) -> tuple[Tensor, ...]:
        """[N, length, size] each; the same tensor stays the same."""
        sizes, wanted_ndim = (self.embed_dim, self.kdim, self.vdim), 2 if is_single else 3
        axes = "length" if is_single else "N, length" if self.batch_first else "length, N"
        made: dict[int, Tensor] = {}
        for name, given, size in zip(("query", "key", "value"), (query, key, value), sizes):
            if given.ndim != wanted_ndim or given.shape[-1] != size:
                raise ShapeError(expected(type(self).__name__, f"{name}[{axes}, {size}]", str(given.type)))
            if id(given) not in made:
                batched = given[None] if is_single else given if self.batch_first else F.swap_axes(given, 0, 1)
                made[id(given)] = batched
        return made[id(query)], made[id(key)], made[id(value)]

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of E each, the further keys and values behind the others."""
        if self.in_proj_weight is not None and query is key is value:
            q, k, v = F.chunk(F.linear(query, self.in_proj_weight, self.in_proj_bias), 3, axis=2)
        else:
            weights: Any = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
            if self.in_proj_weight is not None:
                weights = F.chunk(self.in_proj_weight, 3)
            biases = (None,) * 3 if self.in_proj_bias is None else F.chunk(self.in_proj_bias, 3)
            q, k, v = (F.linear(x, weight, bias) for x, weight, bias in zip((query, key, value), weights, biases))
        row = (k.shape[0], 1, self.embed_dim)
        if self.bias_k is not None and self.bias_v is not None:
            k, v = (F.concat([x, F.broadcast_to(b, row)], 1) for x, b in ((k, self.bias_k), (v, self.bias_v)))
        if self.add_zero_attn:
            k, v = (F.pad(x, (0, 0, 0, 1)) for x in (k, v))
        return q, k, v

    def _split_heads(self, x: Tensor) -> Tensor:
        """[N, L, E] to [N, heads, L, E/heads]."""
        size = self.embed_dim // self.num_heads
        return F.permute(F.reshape(x, (x.shape[0], x.shape[1], self.num_heads, size)), 0, 2, 1, 3)

    def extra_repr(self) -> str:
        return f"{self.embed_dim}, {self.num_heads}, dropout={self.dropout}"


def _weight(rows: int, columns: int) -> Parameter:
    weight = Parameter(zeros((rows, columns)))
    init.xavier_uniform_(weight)
    return weight


def _further(size: int) -> Parameter:
    bias = Parameter(zeros((1, 1, size)))
    init.xavier_normal_(bias)
    return bias


def _widened(mask: Tensor, further: int) -> Tensor:
    """The mask with columns for further keys, which everyone may attend to."""
    if not further or mask.shape[-1] == 1:
        return mask
    return F.pad(mask, (0, further), value=mask.dtype.kind == "bool")


def causal_mask(num_queries: int, num_keys: int, device: DeviceLike = CPU) -> Tensor:
    """Bool [L, S], True where the key is not later than the query."""
    queries, keys = F.arange(num_queries, device=device), F.arange(num_keys, device=device)
    return F.expand_dims(queries, 1) >= F.expand_dims(keys, 0)


def blocking_mask(name: str, mask: Tensor | None, size: tuple[int, int, int, int]) -> Tensor | None:
    """A mask of PyTorch's modules as one of ours, which broadcasts to size [N, heads, L, S].

    There bool True is blocked, here it is allowed; numbers are added in both.
    """
    if mask is None:
        return None
    batch, heads, queries, keys = size
    shapes: dict[tuple[int, ...], tuple[int, ...]] = {
        (queries, keys): (1, 1, queries, keys),
        (batch * heads, queries, keys): size,
    }
    if name == "key_padding_mask":
        shapes = {(batch, keys): (batch, 1, 1, keys)} | ({(keys,): (1, 1, 1, keys)} if batch == 1 else {})
    if mask.shape not in shapes or not (mask.dtype.kind == "bool" or mask.dtype.is_floating):
        wanted = " or ".join(str(list(shape)) for shape in shapes)
        advice = "True is blocked, as in PyTorch; mask= takes what broadcasts to [N, heads, L, S], True for allowed"
        given = str(mask.type) if isinstance(mask, Tensor) else type(mask).__name__
        raise ShapeError(expected("attention", f"{name} of bool or float {wanted}", given, advice))
    allowed = F.logical_not(mask) if mask.dtype.kind == "bool" else mask
    return F.reshape(allowed, shapes[mask.shape])
