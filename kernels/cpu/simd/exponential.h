// exp(x) for x ≤ 0 by range reduction, x = n·ln 2 + r with |r| ≤ ln 2 / 2, and a polynomial in r.
//
// For a Vec<float> that offers round_to_nearest and scale_by_power_of_two. The relative error is below 2e-7 down to the
// smallest normal number, and below it the error is at most the smallest number; NaN stays NaN.
#pragma once

namespace dtrain {

template <typename V>
static inline __attribute__((always_inline)) V exp_by_polynomial(V x) {
  const V lowest(-104.0f);  // e^x is less than half the smallest number, so that scaling makes it 0
  // max() gives its second argument where either is NaN, so NaN goes through.
  const V bounded = max(lowest, x);
  const V n = round_to_nearest(bounded * V(1.44269504f));
  // ln 2 in two parts, so that n·(high part) is exact (Cody and Waite).
  V r = fma(n, V(-0.693359375f), bounded);
  r = fma(n, V(2.12194440e-4f), r);
  // Taylor coefficients 1/k!; with |r| ≤ 0.347 the first one left out, r⁸/8!, is below 6e-9.
  V p(1.0f / 5040);
  p = fma(p, r, V(1.0f / 720));
  p = fma(p, r, V(1.0f / 120));
  p = fma(p, r, V(1.0f / 24));
  p = fma(p, r, V(1.0f / 6));
  p = fma(p, r, V(0.5f));
  p = fma(p, r, V(1.0f));
  p = fma(p, r, V(1.0f));
  return scale_by_power_of_two(p, n);
}

}  // namespace dtrain
