// Optimizer updates of one tensor of n contiguous elements; outputs may be the inputs themselves.
//
// A step updates many tensors: the binding walks over them, so a step is one call from Python.
#pragma once

#include <cstdint>

namespace dtrain {

template <typename T>
struct SgdSettings {
  T lr, momentum, dampening, weight_decay;
  bool nesterov;
};

// g = grad + weight_decay·p; b = momentum·b + (1 − dampening)·g; p −= lr·(nesterov ? g + momentum·b : b).
// buffer and new_buffer are null without momentum.
template <typename T>
using sgd_update_fn = void(const T* param, const T* grad, const T* buffer, T* new_param, T* new_buffer,
                           std::int64_t n, const SgdSettings<T>& settings);

template <typename T>
struct AdamSettings {
  T rate;         // lr / (1 − β1ᵗ)
  T correction2;  // √(1 − β2ᵗ)
  T beta1, one_minus_beta1, beta2, one_minus_beta2, eps;
  T decay_grad;   // weight_decay, or 0 where it is decoupled
  T keep_param;   // 1 − lr·weight_decay where it is decoupled, or 1
};

template <typename T>
struct AdamState {
  T *param, *average, *square;
};

template <typename T>
using adam_update_fn = void(const T* param, const T* grad, const T* average, const T* square,
                            const AdamState<T>& updated, std::int64_t n, const AdamSettings<T>& settings);

}  // namespace dtrain
