// An elementwise walk over arrays.
#pragma once

#include "simd/loop.h"

namespace dtrain {
namespace {

template <typename V>
using ElementOf = typename V::Element;

template <typename V, typename Formula, typename... Inputs>
__attribute__((always_inline)) inline void map(ElementOf<V>* out, std::int64_t n, Formula formula, Inputs... inputs) {
  for_each_vector<V>(n, [&](std::int64_t i, auto lane) { lane.store(formula(lane.load(inputs + i)...), out + i); });
}

}  // namespace
}  // namespace dtrain
