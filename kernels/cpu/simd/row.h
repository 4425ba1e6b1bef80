// Reductions of one row of n contiguous elements.
#pragma once

#include <limits>

#include "simd/loop.h"

namespace dtrain {
namespace {

// The largest element. A NaN may be missed here, but not by whatever is computed from the row afterwards.
template <typename V>
typename V::Element row_maximum(const typename V::Element* row, std::int64_t n) {
  using T = typename V::Element;
  constexpr T lowest = -std::numeric_limits<T>::infinity();
  V best(lowest);
  for_each_vector<V>(n, [&](std::int64_t i, auto lane) { best = max(lane.load(row + i, lowest), best); });
  return best.maximum();
}

template <typename V>
typename V::Element row_sum(const typename V::Element* row, std::int64_t n) {
  V total = V::zero();
  for_each_vector<V>(n, [&](std::int64_t i, auto lane) { total = total + lane.load(row + i); });
  return total.sum();
}

// Σ a·b
template <typename V>
typename V::Element row_dot(const typename V::Element* a, const typename V::Element* b, std::int64_t n) {
  V total = V::zero();
  for_each_vector<V>(n, [&](std::int64_t i, auto lane) { total = fma(lane.load(a + i), lane.load(b + i), total); });
  return total.sum();
}

}  // namespace
}  // namespace dtrain
