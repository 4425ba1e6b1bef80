// The activation kernels over a vector type.
#pragma once

#include "activation/activation.h"
#include "simd/loop.h"

namespace dtrain {
namespace {

template <typename V>
void relu_backward(const typename V::Element* grad, const typename V::Element* y, typename V::Element* out,
                   std::int64_t n) {
  for_each_vector<V>(n, [=](std::int64_t i, auto lane) {
    lane.store(select_positive(lane.load(y + i), lane.load(grad + i), V::zero()), out + i);
  });
}

}  // namespace
}  // namespace dtrain
