// Elementwise walks over one or two arrays.
#pragma once

#include "simd/loop.h"

namespace dtrain {
namespace {

template <typename V>
using ElementOf = typename V::Element;

template <typename V, typename Formula>
__attribute__((always_inline)) inline void map(const ElementOf<V>* x, ElementOf<V>* out, std::int64_t n,
                                               Formula formula) {
  for_each_vector<V>(n, [&](std::int64_t i, auto lane) { lane.store(formula(lane.load(x + i)), out + i); });
}

template <typename V, typename Formula>
__attribute__((always_inline)) inline void map(const ElementOf<V>* grad, const ElementOf<V>* from, ElementOf<V>* out,
                                               std::int64_t n, Formula formula) {
  for_each_vector<V>(n, [&](std::int64_t i, auto lane) {
    lane.store(formula(lane.load(grad + i), lane.load(from + i)), out + i);
  });
}

}  // namespace
}  // namespace dtrain
