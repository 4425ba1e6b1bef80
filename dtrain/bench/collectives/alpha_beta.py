"""The straight line through a sweep: time = alpha + beta · bytes (Hockney), fitted by relative error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from dtrain.collectives.programs.network import Line


@dataclass(frozen=True, slots=True, kw_only=True)
class AlphaBeta(Line):
    """A fitted line and how well it fits.

    Attributes:
        residual: root mean square of the relative errors.
        worst: the largest relative error.
        worst_nbytes: the message size where it is.
    """

    residual: float
    worst: float
    worst_nbytes: int

    def as_dict(self) -> dict[str, float]:
        return asdict(self)

    def __str__(self) -> str:
        rate = f"{1e-9 / self.beta:.2f} GB/s" if self.beta > 0 else "unlimited"
        return (
            f"alpha {self.alpha * 1e6:.2f} us, beta {self.beta * 1e9:.4f} ns/B ({rate}), "
            f"off by {self.residual:.1%} rms, at most {self.worst:.1%} (at {self.worst_nbytes} B)"
        )


def fit(sizes: Sequence[int], seconds: Sequence[float]) -> AlphaBeta | None:
    """Least squares of the relative error, so that small messages count as much as large ones.

    Both coefficients are kept at or above zero. Returns None for fewer than two different sizes.
    """
    nbytes, measured = np.asarray(sizes, np.float64), np.asarray(seconds, np.float64)
    if len(set(sizes)) < 2:
        return None
    weighted = np.stack([1 / measured, nbytes / measured], axis=1)
    ones = np.ones(len(measured))
    candidates = [np.linalg.lstsq(weighted, ones, rcond=None)[0]]
    for only in (0, 1):
        line = np.zeros(2)
        line[only] = weighted[:, only].sum() / (weighted[:, only] ** 2).sum()
        candidates.append(line)
    allowed = [line for line in candidates if (line >= 0).all()]
    alpha, beta = min(allowed, key=lambda line: float(((weighted @ line - 1) ** 2).sum()))
    errors = np.abs(weighted @ np.array([alpha, beta]) - 1)
    return AlphaBeta(
        alpha=float(alpha),
        beta=float(beta),
        residual=float(np.sqrt((errors**2).mean())),
        worst=float(errors.max()),
        worst_nbytes=int(nbytes[errors.argmax()]),
    )
