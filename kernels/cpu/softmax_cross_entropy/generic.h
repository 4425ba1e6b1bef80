// Softmax and cross entropy over a vector type.
#pragma once

#include <cmath>
#include <limits>

#include "simd/row.h"
#include "softmax_cross_entropy/softmax_cross_entropy.h"

namespace dtrain {
namespace {

template <typename V>
void softmax_cross_entropy_row(const typename V::Element* logits, std::int64_t target, typename V::Element* loss,
                               typename V::Element* probabilities, std::int64_t classes,
                               typename V::Element smoothing) {
  using T = typename V::Element;
  constexpr T lowest = -std::numeric_limits<T>::infinity();
  const T largest = row_maximum<V>(logits, classes);
  V total = V::zero(), shifted_total = V::zero();
  for_each_vector<V>(classes, [&](std::int64_t i, auto lane) {
    // Lanes beyond the row read as −∞ and add exp(−∞) = 0; for the smoothing sum they must read as `largest`.
    const V exponential = exp_non_positive(lane.load(logits + i, lowest) - V(largest));
    lane.store(exponential, probabilities + i);
    total = total + exponential;
    if (smoothing != T(0)) shifted_total = shifted_total + (lane.load(logits + i, largest) - V(largest));
  });
  const T sum = total.sum();
  const V scale(T(1) / sum);
  for_each_vector<V>(classes, [&](std::int64_t i, auto lane) {
    lane.store(lane.load(probabilities + i) * scale, probabilities + i);
  });
  const T log_sum = std::log(sum);
  const T picked = logits[target] - largest;
  *loss = (T(1) - smoothing) * (log_sum - picked);
  if (smoothing != T(0)) *loss += smoothing * (log_sum - shifted_total.sum() / static_cast<T>(classes));
}

template <typename V>
void softmax_cross_entropy(const typename V::Element* logits, const std::int64_t* targets, typename V::Element* losses,
                           typename V::Element* probabilities, const CrossEntropyShape& shape) {
  using T = typename V::Element;
  for (std::int64_t row = 0; row < shape.rows; ++row) {
    const std::int64_t start = row * shape.classes;
    softmax_cross_entropy_row<V>(logits + start, targets[row], losses + row, probabilities + start, shape.classes,
                                 static_cast<T>(shape.label_smoothing));
  }
}

template <typename V>
void softmax_cross_entropy_backward(const typename V::Element* grad, const typename V::Element* probabilities,
                                    const std::int64_t* targets, typename V::Element* dlogits,
                                    const CrossEntropyShape& shape) {
  using T = typename V::Element;
  const T smoothing = static_cast<T>(shape.label_smoothing);
  const V share(smoothing / static_cast<T>(shape.classes > 0 ? shape.classes : 1));
  for (std::int64_t row = 0; row < shape.rows; ++row) {
    const T* from = probabilities + row * shape.classes;
    T* to = dlogits + row * shape.classes;
    const T picked = from[targets[row]];
    const V factor(grad[row]);
    for_each_vector<V>(shape.classes, [&](std::int64_t i, auto lane) {
      lane.store(factor * (lane.load(from + i) - share), to + i);
    });
    to[targets[row]] = grad[row] * (picked - smoothing / static_cast<T>(shape.classes) - (T(1) - smoothing));
  }
}

}  // namespace
}  // namespace dtrain
