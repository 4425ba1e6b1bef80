"""A small Transformer encoder that classifies sequences of tokens."""

from __future__ import annotations

import dtrain.functional as F
from dtrain import nn
from dtrain.base.errors import ShapeError, expected
from dtrain.core.tensor import Tensor


class TransformerClassifier(nn.Module):
    """Token and position embeddings, encoder layers, the mean over positions and a linear classifier.

    tokens[N, L], integers below vocabulary_size with L at most max_length, to logits[N, num_classes].
    """

    def __init__(
        self,
        vocabulary_size: int = 1000,
        num_classes: int = 10,
        *,
        embed_dim: int = 128,
        num_heads: int = 4,
        num_layers: int = 2,
        hidden_dim: int = 256,
        max_length: int = 256,
        dropout: float = 0.1,
    ) -> None:
        self.max_length = max_length
        self.token_embedding = nn.Embedding(vocabulary_size, embed_dim)
        self.position_embedding = nn.Embedding(max_length, embed_dim)
        for embedding in (self.token_embedding, self.position_embedding):
            nn.init.normal_(embedding.weight, 0, 0.02)
        self.dropout = nn.Dropout(dropout)
        self.layers = [
            nn.TransformerEncoderLayer(
                embed_dim, num_heads, hidden_dim, dropout, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(num_layers)
        ]
        self.norm = nn.LayerNorm(embed_dim)
        self.classifier = nn.Linear(embed_dim, num_classes)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits; `mask`, bool [N, 1, 1, L] or a shape that broadcasts to it, is True at tokens to attend to."""
        if tokens.ndim != 2 or tokens.shape[1] > self.max_length:
            wanted = f"tokens[N, L] with L at most {self.max_length}"
            raise ShapeError(expected("TransformerClassifier", wanted, str(tokens.type)))
        positions = F.arange(tokens.shape[1], device=tokens.device)
        x = self.dropout(self.token_embedding(tokens) + self.position_embedding(positions))
        padding = None
        if mask is not None:
            allowed = F.broadcast_to(mask, (tokens.shape[0], 1, 1, tokens.shape[1]))
            padding = F.logical_not(F.reshape(allowed, tokens.shape))
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padding)
        return self.classifier(self.norm(x).mean(1))  # type: ignore[no-any-return]


def small_transformer(
    vocabulary_size: int = 1000, num_classes: int = 10, *, dropout: float = 0.1
) -> TransformerClassifier:
    """Two layers of four heads, 128 wide: 0.4 million numbers."""
    return TransformerClassifier(vocabulary_size, num_classes, dropout=dropout)
