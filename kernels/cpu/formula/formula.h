// Elementwise functions and their gradients over n contiguous elements, as the rows of kernels/formula/table.py say.
// out may be one of the inputs.
#pragma once

#include <cstdint>

namespace dtrain {

template <typename T>
using unary_fn = void(const T* x, T* out, std::int64_t n);

// `from` is the function's output y where that says enough, else its input x.
template <typename T>
using gradient_fn = void(const T* grad, const T* from, T* out, std::int64_t n);

#include "formula/contracts.h"

}  // namespace dtrain
