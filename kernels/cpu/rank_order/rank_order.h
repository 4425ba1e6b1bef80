// Reduction of equally long arrays in argument order, the rule of summation of all communicators.
//
// out[i] = ((arrays[0][i] ∘ arrays[1][i]) ∘ …). Each element's chain is strictly left to right and elements are
// independent, so every instruction set gives the same bits. The mean divides the sum; where that has overflowed it
// adds what is divided first. Short floats accumulate in f32 and round once. `weighted`
// (floats only) reduces weights[r]·arrays[r] by a sum, each product rounded; the other reductions read no weights.
#pragma once

#include <cstdint>

#include "binding/element.h"

namespace dtrain {

enum class Reduction { sum, mean, prod, min, max, weighted };

// `out` may be one of the arrays, or overlap none.
template <typename T>
using rank_order_reduce_fn = void(const T* const* arrays, int num_arrays, const double* weights, T* out,
                                  std::int64_t n, Reduction reduction);

}  // namespace dtrain
