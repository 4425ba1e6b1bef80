// Layer norm over rows, and its gradient. Shapes: x, y, grad, dx [rows][size]; mean, inverse_std [rows]; weight, bias,
// dweight, dbias [size].
#pragma once

#include <cstdint>

namespace dtrain {

struct RowShape {
  std::int64_t rows, size;
};

template <typename T>
struct LayerNormOutputs {
  T *y, *mean, *inverse_std;
};

// y = (x − mean) · inverse_std · weight + bias, the variance taken in a second pass.
template <typename T>
using layer_norm_fn = void(const T* x, const T* weight, const T* bias, const LayerNormOutputs<T>& out,
                           const RowShape& shape, T eps);

template <typename T>
struct LayerNormGradientInputs {
  const T *grad, *x, *mean, *inverse_std, *weight;
};

template <typename T>
struct LayerNormGradients {
  T *dx, *dweight, *dbias;
};

// With g = grad · weight: dx = (g − mean(g) − x̂ · mean(g · x̂)) · inverse_std
template <typename T>
using layer_norm_backward_fn = void(const LayerNormGradientInputs<T>& inputs, const LayerNormGradients<T>& out,
                                    const RowShape& shape);

}  // namespace dtrain
