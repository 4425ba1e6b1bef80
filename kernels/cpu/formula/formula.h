// Elementwise functions and their gradients over n contiguous elements, as the rows of kernels/formula/table.py say.
#pragma once

#include <cstdint>

namespace dtrain {

// inputs: an array of n elements each; out may be one of them. parameters: numbers that hold for all elements.
template <typename T>
using elementwise_fn = void(const T* const* inputs, T* out, std::int64_t n, const T* parameters);

// How many inputs a call has, and the names of the attributes that give its parameters.
template <int inputs, const char*... names>
struct Arguments;

#include "formula/contracts.h"

}  // namespace dtrain
