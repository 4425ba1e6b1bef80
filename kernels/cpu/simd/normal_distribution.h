// The logistic and the normal distribution over a vector type: what sigmoid, SiLU and GELU are made of.
#pragma once

#include <cmath>
#include <type_traits>

#include "simd/loop.h"

namespace dtrain {
namespace {

// 1 / (1 + e^−x) through e^−|x|, which cannot overflow.
template <typename V>
inline V sigmoid_of(V x) {
  const V one(typename V::Element(1));
  const V small = exp_non_positive(min(V::zero() - x, x));
  return select_positive(x, one, small) / (one + small);
}

// erfc(z) for z ≥ 0 in f32, relative error below 1.2e-7: the Chebyshev fit of Press et al., "Numerical Recipes", 6.2.
template <typename V>
inline V erfc_by_polynomial(V z) {
  const V t = V(1.0f) / fma(V(0.5f), z, V(1.0f));
  V p(0.17087277f);
  p = fma(p, t, V(-0.82215223f));
  p = fma(p, t, V(1.48851587f));
  p = fma(p, t, V(-1.13520398f));
  p = fma(p, t, V(0.27886807f));
  p = fma(p, t, V(-0.18628806f));
  p = fma(p, t, V(0.09678418f));
  p = fma(p, t, V(0.37409196f));
  p = fma(p, t, V(1.00002368f));
  p = fma(p, t, V(-1.26551223f));
  return t * exp_non_positive(p - z * z);
}

// erfc(z) for z ≥ 0; f64 asks the library, whose accuracy checks of gradients need.
template <typename V>
inline V erfc_of(V z) {
  if constexpr (std::is_same_v<typename V::Element, float>) {
    return erfc_by_polynomial(z);
  } else {
    return each_lane(z, [](auto value) { return std::erfc(value); });
  }
}

// Φ(x) = erfc(−x/√2) / 2
template <typename V>
inline V normal_probability(V x) {
  using T = typename V::Element;
  const V tail = V(T(0.5)) * erfc_of(max(V::zero() - x, x) * V(T(0.70710678118654752440)));
  return select_positive(x, V(T(1)) - tail, tail);
}

// Φ′(x) = e^(−x²/2) / √(2π)
template <typename V>
inline V normal_density(V x) {
  using T = typename V::Element;
  return exp_non_positive(V(T(-0.5)) * x * x) * V(T(0.39894228040143267794));
}

template <typename V>
struct TanhForm {
  V probability, density;
};

// Φ(x) ≈ (1 + tanh u) / 2 = sigmoid(2u), u = √(2/π) · (x + 0.044715 x³) (Hendrycks, Gimpel 2016), and its derivative.
template <typename V>
inline TanhForm<V> tanh_form(V x) {
  using T = typename V::Element;
  const V scale(T(1.59576912160573071176)), cubic(T(0.044715)), one(T(1));  // 2·√(2/π)
  const V square = x * x;
  const V twice_u = scale * fma(cubic * square, x, x);
  const V probability = sigmoid_of(twice_u);
  const V slope = scale * fma(V(T(3)) * cubic, square, one);
  // sigmoid(−2u), not 1 − sigmoid(2u), which cancels where x is large.
  return {probability, probability * sigmoid_of(V::zero() - twice_u) * slope};
}

}  // namespace
}  // namespace dtrain
