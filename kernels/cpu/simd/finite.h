// Whether all of many numbers are finite, at one operation a vector.
#pragma once

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

}  // namespace
}  // namespace dtrain
