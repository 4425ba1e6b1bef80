// Whether all of many numbers are finite, at one operation a vector.
#pragma once

#include "simd/loop.h"

namespace dtrain {
namespace {

// NaN where a number that is not finite has been added.
template <typename V>
class Finite {
 public:
  __attribute__((always_inline)) void add(V value) { seen_ = fma(value, V::zero(), seen_); }
  explicit operator bool() const { return seen_.sum() == 0; }

 private:
  V seen_ = V::zero();
};

template <typename V>
inline bool all_finite(const typename V::Element* numbers, std::int64_t count) {
  Finite<V> is_finite;
  for_each_vector<V>(count, [&](std::int64_t i, auto lane) { is_finite.add(lane.load(numbers + i)); });
  return static_cast<bool>(is_finite);
}

}  // namespace
}  // namespace dtrain
