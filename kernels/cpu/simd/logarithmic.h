// eˣ − 1 and log(1 + eˣ) over a vector type: what ELU and softplus are made of.
//
// In f32 by polynomials, with a relative error below 4e-7; f64 asks the library, whose accuracy checks of gradients need.
#pragma once

#include <cmath>
#include <type_traits>

#include "simd/loop.h"

namespace dtrain {
namespace {

// eˣ − 1 for x ≤ 0: the Taylor series down to −1/2, where its first term left out, x¹⁰/10!, is below 3e-10; from there
// on the difference, which cancels to no less than 0.39.
template <typename V>
inline V expm1_non_positive(V x) {
  if constexpr (!std::is_same_v<typename V::Element, float>) {
    return each_lane(x, [](auto value) { return std::expm1(value); });
  } else {
    V p(1.0f / 362880);
    p = fma(p, x, V(1.0f / 40320));
    p = fma(p, x, V(1.0f / 5040));
    p = fma(p, x, V(1.0f / 720));
    p = fma(p, x, V(1.0f / 120));
    p = fma(p, x, V(1.0f / 24));
    p = fma(p, x, V(1.0f / 6));
    p = fma(p, x, V(0.5f));
    p = fma(p * x, x, x);
    return select_positive(x + V(0.5f), p, exp_non_positive(x) - V(1.0f));
  }
}

// log(1 + u) for u in [0, 1]: 2·artanh(s) with s = u / (2 + u) ≤ 1/3; the first term left out, s¹⁷/17, is below 5e-10.
template <typename V>
inline V log1p_of_unit(V u) {
  if constexpr (!std::is_same_v<typename V::Element, float>) {
    return each_lane(u, [](auto value) { return std::log1p(value); });
  } else {
    const V s = u / (V(2.0f) + u), square = s * s;
    V p(1.0f / 15);
    p = fma(p, square, V(1.0f / 13));
    p = fma(p, square, V(1.0f / 11));
    p = fma(p, square, V(1.0f / 9));
    p = fma(p, square, V(1.0f / 7));
    p = fma(p, square, V(1.0f / 5));
    p = fma(p, square, V(1.0f / 3));
    p = p * square;
    return V(2.0f) * fma(p, s, s);
  }
}

// log(1 + eˣ) = max(x, 0) + log(1 + e^−|x|), which cannot overflow.
template <typename V>
inline V softplus_of(V x) {
  return max(V::zero(), x) + log1p_of_unit(exp_non_positive(min(V::zero() - x, x)));
}

}  // namespace
}  // namespace dtrain
