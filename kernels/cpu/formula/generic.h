// The kernels that follow from formulas, over a vector type; kernels/formula/write_cpp.py has written them.
#pragma once

#include "formula/formula.h"
#include "formula/map.h"
#include "simd/logarithmic.h"
#include "simd/normal_distribution.h"

namespace dtrain {
namespace {

// What a gradient is where the formula has slope 0: 0, but NaN where the value is NaN, so that it stays visible.
template <typename V>
__attribute__((always_inline)) inline V zero_or_nan(V value) {
  return min(V::zero(), max(V::zero(), value));
}

// Subtracted, it leaves every bit as it is (−0 − 0 is −0), but makes NaN where the value is NaN.
template <typename V>
__attribute__((always_inline)) inline V nothing_or_nan(V value) {
  return V::zero() - zero_or_nan(value);
}

// −1, 0 or 1; NaN of NaN.
template <typename V>
__attribute__((always_inline)) inline V sign_of(V value) {
  using T = typename V::Element;
  return select_positive(value, V(T(1)), select_positive(V::zero() - value, V(T(-1)), nothing_or_nan(value)));
}

template <typename V>
__attribute__((always_inline)) inline V square_of(V value) {
  return value * value;
}

#include "formula/formulas.h"

}  // namespace
}  // namespace dtrain
