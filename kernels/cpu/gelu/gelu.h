// GELU and its gradient over n contiguous elements. out may be one of the inputs.
#pragma once

#include <cstdint>

namespace dtrain {

// x · Φ(x), with the tanh form of the normal distribution Φ where `is_tanh_form`, else with the error function.
template <typename T>
using gelu_fn = void(const T* x, T* out, std::int64_t n, bool is_tanh_form);
template <typename T>
using gelu_backward_fn = void(const T* grad, const T* x, T* out, std::int64_t n, bool is_tanh_form);

}  // namespace dtrain
