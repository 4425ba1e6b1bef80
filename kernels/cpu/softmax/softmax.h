// Softmax and log-softmax along the last axis, and their gradients from the output. Shapes: all [rows][classes].
//
// out may be one of the inputs.
#pragma once

#include <cstdint>

namespace dtrain {

template <typename T>
using softmax_fn = void(const T* x, T* out, std::int64_t rows, std::int64_t classes);
template <typename T>
using log_softmax_fn = softmax_fn<T>;

// y · (grad − Σ grad · y), and for the logarithm grad − e^y · Σ grad
template <typename T>
using softmax_backward_fn = void(const T* grad, const T* y, T* out, std::int64_t rows, std::int64_t classes);
template <typename T>
using log_softmax_backward_fn = softmax_backward_fn<T>;

}  // namespace dtrain
