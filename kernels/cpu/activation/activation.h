// Activations and their gradients, element by element over n contiguous elements. out may be one of the inputs.
#pragma once

#include <cstdint>

namespace dtrain {

template <typename T>
using unary_fn = void(const T* x, T* out, std::int64_t n);

// `from` is the activation's output y where that says enough, else its input x.
template <typename T>
using gradient_fn = void(const T* grad, const T* from, T* out, std::int64_t n);

// GELU takes the tanh form of the normal distribution where `is_tanh_form`, else the error function.
template <typename T>
using gelu_fn = void(const T* x, T* out, std::int64_t n, bool is_tanh_form);
template <typename T>
using gelu_backward_fn = void(const T* grad, const T* x, T* out, std::int64_t n, bool is_tanh_form);

template <typename T>
using relu_fn = unary_fn<T>;  // max(x, 0)
template <typename T>
using relu6_fn = unary_fn<T>;  // min(max(x, 0), 6)
template <typename T>
using sigmoid_fn = unary_fn<T>;  // 1 / (1 + e⁻ˣ)
template <typename T>
using silu_fn = unary_fn<T>;  // x · sigmoid(x)
template <typename T>
using hswish_fn = unary_fn<T>;  // x · min(max(x + 3, 0), 6) / 6

template <typename T>
using relu_backward_fn = gradient_fn<T>;  // y > 0 ? grad : 0
template <typename T>
using relu6_backward_fn = gradient_fn<T>;  // 0 < y < 6 ? grad : 0
template <typename T>
using sigmoid_backward_fn = gradient_fn<T>;  // grad · y · (1 − y)
template <typename T>
using tanh_backward_fn = gradient_fn<T>;  // grad · (1 − y²)
template <typename T>
using silu_backward_fn = gradient_fn<T>;  // grad · s · (1 + x · (1 − s)), s = sigmoid(x)
template <typename T>
using hswish_backward_fn = gradient_fn<T>;  // grad · (x ≤ −3 ? 0 : x < 3 ? (2x + 3) / 6 : 1)

}  // namespace dtrain
