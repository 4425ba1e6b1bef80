// GELU over a vector type.
#pragma once

#include "formula/map.h"
#include "gelu/gelu.h"
#include "simd/normal_distribution.h"

namespace dtrain {
namespace {

template <typename V>
void gelu(const ElementOf<V>* x, ElementOf<V>* out, std::int64_t n, bool is_tanh_form) {
  if (is_tanh_form) map<V>(x, out, n, [](V value) { return value * tanh_form(value).probability; });
  else map<V>(x, out, n, [](V value) { return value * normal_probability(value); });
}

// dx = grad · (Φ(x) + x · Φ′(x))
template <typename V>
void gelu_backward(const ElementOf<V>* grad, const ElementOf<V>* x, ElementOf<V>* out, std::int64_t n,
                   bool is_tanh_form) {
  if (is_tanh_form) {
    map<V>(grad, x, out, n, [](V g, V value) {
      const auto form = tanh_form(value);
      return g * fma(value, form.density, form.probability);
    });
  } else {
    map<V>(grad, x, out, n,
           [](V g, V value) { return g * fma(value, normal_density(value), normal_probability(value)); });
  }
}

}  // namespace
}  // namespace dtrain
