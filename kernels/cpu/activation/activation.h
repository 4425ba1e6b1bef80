// Gradients of activations, element by element over n contiguous elements. out may be grad or y.
#pragma once

#include <cstdint>

#include "binding/isa.h"

namespace dtrain {

// out = y > 0 ? grad : 0
template <typename T>
using relu_backward_fn = void(const T* grad, const T* y, T* out, std::int64_t n);

#define KERNEL(isa, op, name, type) DTRAIN_WHEN_##isa(extern op##_fn<type>* const name;)
#include "activation/kernels.inc"
#undef KERNEL

}  // namespace dtrain
