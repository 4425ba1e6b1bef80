"""The small Transformer in PyTorch: tokens [N, L] to logits [N, num_classes]."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(nn.Module):  # type: ignore[misc]
    """Attention of x[N, L, width] to itself."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.projection = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        shape = (batch, length, self.heads, width // self.heads)
        q, k, v = (part.view(shape).transpose(1, 2) for part in self.projection(x).chunk(3, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return self.output(y.transpose(1, 2).reshape(batch, length, width))


class EncoderLayer(nn.Module):  # type: ignore[misc]
    """Attention and a two-layer network, each with a norm in front of it, dropout, and its input added."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads, dropout)
        self.network = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width), nn.Dropout(dropout)
        )
        self.attention_norm = nn.LayerNorm(width)
        self.network_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        return x + self.network(self.network_norm(x))


class TransformerClassifier(nn.Module):  # type: ignore[misc]
    """Token and position embeddings, encoder layers, and a linear classifier of the mean over positions."""

    def __init__(
        self,
        vocabulary: int,
        classes: int,
        *,
        width: int,
        heads: int,
        layers: int,
        hidden: int,
        longest: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(longest, width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(*(EncoderLayer(width, heads, hidden, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.dropout(self.tokens(tokens) + self.positions(positions))
        return self.classifier(self.norm(self.layers(x)).mean(dim=1))


def small_transformer(vocabulary: int = 1000, classes: int = 10) -> TransformerClassifier:
    """Two layers of four heads, 128 wide, for up to 256 tokens."""
    return TransformerClassifier(
        vocabulary, classes, width=128, heads=4, layers=2, hidden=256, longest=256, dropout=0.1
    )
