"""The error function by rational approximations in f64 (those of Cephes, S. L. Moshier; relative error < 4e-16)."""

from __future__ import annotations

from collections.abc import Sequence

from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.reference.precision import store

# erf(x) = x · T(x²) / U(x²) for |x| ≤ 1; highest power first.
_T = (9.60497373987051638749e0, 9.00260197203842689217e1, 2.23200534594684319226e3, 7.00332514112805075473e3,
      5.55923013010394962768e4)  # fmt: skip
_U = (1.0, 3.35617141647503099647e1, 5.21357949780152679795e2, 4.59432382970980127987e3, 2.26290000613890934246e4,
      4.92673942608635921086e4)  # fmt: skip
# erfc(x) = exp(−x²) · P(x) / Q(x) for 1 < x < 8; beyond 6 erf is 1 in f64.
_P = (2.46196981473530512524e-10, 5.64189564831068821977e-1, 7.46321056442269912687e0, 4.86371970985681366614e1,
      1.96520832956077098242e2, 5.26445194995477358631e2, 9.34528527171957607540e2, 1.02755188689515710272e3,
      5.57535335369399327526e2)  # fmt: skip
_Q = (1.0, 1.32281951154744992508e1, 8.67072140885989742329e1, 3.54937778887819891062e2, 9.75708501743205489753e2,
      1.82390916687909736289e3, 2.24633760818710981792e3, 1.65666309194161350182e3,
      5.57535340817727675546e2)  # fmt: skip


def _polynomial(coefficients: Sequence[float], x: Array) -> Array:
    total = coefficients[0] + 0 * x
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


def erf_of(x: Array) -> Array:
    """erf(x) in the dtype of x, computed in f64."""
    xp = array_module(x)
    wide = x.astype("float64", copy=False)
    size = xp.minimum(xp.abs(wide), 6.0)
    inner = xp.minimum(size, 1.0)
    square = inner * inner
    near = inner * _polynomial(_T, square) / _polynomial(_U, square)
    outer = xp.maximum(size, 1.0)
    far = 1 - xp.exp(-outer * outer) * _polynomial(_P, outer) / _polynomial(_Q, outer)
    return xp.copysign(xp.where(size <= 1, near, far), wide).astype(x.dtype, copy=False)


def erf(x: Array, out: Array) -> None:
    """2/√π · ∫₀ˣ exp(−t²) dt."""
    store(out, erf_of(x))
