// Layer norm over a vector type.
#pragma once

#include <cmath>

#include "layer_norm/layer_norm.h"
#include "simd/row.h"

namespace dtrain {
namespace {

template <typename V>
void layer_norm(const typename V::Element* x, const typename V::Element* weight, const typename V::Element* bias,
                const LayerNormOutputs<typename V::Element>& out, const RowShape& shape, typename V::Element eps) {
  using T = typename V::Element;
  const T size = static_cast<T>(shape.size);
  for (std::int64_t row = 0; row < shape.rows; ++row) {
    const T* from = x + row * shape.size;
    T* to = out.y + row * shape.size;
    const T mean = row_sum<V>(from, shape.size) / size;
    const V centre(mean);
    V squares = V::zero();
    for_each_vector<V>(shape.size, [&](std::int64_t i, auto lane) {
      const V deviation = lane.keep(lane.load(from + i) - centre);
      squares = fma(deviation, deviation, squares);
    });
    const T inverse_std = T(1) / std::sqrt(squares.sum() / size + eps);
    const V scale(inverse_std);
    for_each_vector<V>(shape.size, [&](std::int64_t i, auto lane) {
      const V standard = (lane.load(from + i) - centre) * scale;
      lane.store(fma(standard, lane.load(weight + i), lane.load(bias + i)), to + i);
    });
    out.mean[row] = mean;
    out.inverse_std[row] = inverse_std;
  }
}

template <typename V>
void layer_norm_backward(const LayerNormGradientInputs<typename V::Element>& inputs,
                         const LayerNormGradients<typename V::Element>& out, const RowShape& shape) {
  using T = typename V::Element;
  for (std::int64_t i = 0; i < shape.size; ++i) out.dweight[i] = out.dbias[i] = T(0);
  const V size(static_cast<T>(shape.size));
  for (std::int64_t row = 0; row < shape.rows; ++row) {
    const T *grad = inputs.grad + row * shape.size, *x = inputs.x + row * shape.size;
    T* dx = out.dx + row * shape.size;
    const V centre(inputs.mean[row]), scale(inputs.inverse_std[row]);
    V sum = V::zero(), product = V::zero();
    // Lanes beyond the row read a gradient of zero and add nothing.
    for_each_vector<V>(shape.size, [&](std::int64_t i, auto lane) {
      const V g = lane.load(grad + i), standard = (lane.load(x + i) - centre) * scale;
      const V weighted = g * lane.load(inputs.weight + i);
      sum = sum + weighted;
      product = fma(weighted, standard, product);
      lane.store(fma(g, standard, lane.load(out.dweight + i)), out.dweight + i);
      lane.store(lane.load(out.dbias + i) + g, out.dbias + i);
    });
    const V mean = V(sum.sum()) / size, slope = V(product.sum()) / size;
    for_each_vector<V>(shape.size, [&](std::int64_t i, auto lane) {
      const V standard = (lane.load(x + i) - centre) * scale;
      const V weighted = lane.load(grad + i) * lane.load(inputs.weight + i);
      lane.store((weighted - mean - standard * slope) * scale, dx + i);
    });
  }
}

}  // namespace
}  // namespace dtrain
