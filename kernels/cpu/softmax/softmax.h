// Softmax and log-softmax, and their gradients from the output: along the last axis over [rows][classes], and along
// another one, as `columns`, over [outer][classes][inner].
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

struct ColumnsShape {
  std::int64_t outer, classes, inner;
};

// `largest` and `total` are memory for `inner` elements each.
template <typename T>
using softmax_columns_fn = void(const T* x, T* out, T* largest, T* total, const ColumnsShape& shape);
template <typename T>
using log_softmax_columns_fn = softmax_columns_fn<T>;
template <typename T>
using softmax_backward_columns_fn = void(const T* grad, const T* y, T* out, T* total, const ColumnsShape& shape);
template <typename T>
using log_softmax_backward_columns_fn = softmax_backward_columns_fn<T>;

}  // namespace dtrain
