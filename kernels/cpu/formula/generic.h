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

#include "formula/formulas.h"

}  // namespace
}  // namespace dtrain
