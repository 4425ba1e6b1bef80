// Softmax over a vector type.
#pragma once

#include <cmath>
#include <limits>

#include "simd/row.h"
#include "softmax/softmax.h"

namespace dtrain {
namespace {

template <typename V>
void softmax(const typename V::Element* x, typename V::Element* out, std::int64_t rows, std::int64_t classes) {
  using T = typename V::Element;
  constexpr T lowest = -std::numeric_limits<T>::infinity();
  for (std::int64_t row = 0; row < rows; ++row, x += classes, out += classes) {
    const V largest(row_maximum<V>(x, classes));
    V total = V::zero();
    for_each_vector<V>(classes, [&](std::int64_t i, auto lane) {
      const V exponential = exp_non_positive(lane.load(x + i, lowest) - largest);
      lane.store(exponential, out + i);
      total = total + lane.keep(exponential);
    });
    const V scale(T(1) / total.sum());
    for_each_vector<V>(classes, [&](std::int64_t i, auto lane) { lane.store(lane.load(out + i) * scale, out + i); });
  }
}

template <typename V>
void log_softmax(const typename V::Element* x, typename V::Element* out, std::int64_t rows, std::int64_t classes) {
  using T = typename V::Element;
  constexpr T lowest = -std::numeric_limits<T>::infinity();
  for (std::int64_t row = 0; row < rows; ++row, x += classes, out += classes) {
    const V largest(row_maximum<V>(x, classes));
    V total = V::zero();
    for_each_vector<V>(classes, [&](std::int64_t i, auto lane) {
      total = total + lane.keep(exp_non_positive(lane.load(x + i, lowest) - largest));
    });
    const V logarithm(std::log(total.sum()));
    for_each_vector<V>(classes,
                       [&](std::int64_t i, auto lane) { lane.store(lane.load(x + i) - largest - logarithm, out + i); });
  }
}

template <typename V>
void softmax_backward(const typename V::Element* grad, const typename V::Element* y, typename V::Element* out,
                      std::int64_t rows, std::int64_t classes) {
  for (std::int64_t row = 0; row < rows; ++row, grad += classes, y += classes, out += classes) {
    const V shared(row_dot<V>(grad, y, classes));
    for_each_vector<V>(classes, [&](std::int64_t i, auto lane) {
      lane.store(lane.load(y + i) * (lane.load(grad + i) - shared), out + i);
    });
  }
}

template <typename V>
void log_softmax_backward(const typename V::Element* grad, const typename V::Element* y, typename V::Element* out,
                          std::int64_t rows, std::int64_t classes) {
  for (std::int64_t row = 0; row < rows; ++row, grad += classes, y += classes, out += classes) {
    const V total(row_sum<V>(grad, classes));
    for_each_vector<V>(classes, [&](std::int64_t i, auto lane) {
      lane.store(lane.load(grad + i) - exp_non_positive(lane.load(y + i)) * total, out + i);
    });
  }
}

}  // namespace
}  // namespace dtrain
