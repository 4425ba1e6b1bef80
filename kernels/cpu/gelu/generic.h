// GELU over a vector type.
#pragma once

#include "formula/map.h"
#include "gelu/gelu.h"
#include "simd/normal_distribution.h"

namespace dtrain {
namespace {

template <typename V>
void gelu(const ElementOf<V>* x, ElementOf<V>* out, std::int64_t n, bool is_tanh_form) {
  if (is_tanh_form) map<V>(out, n, [](V value) { return value * tanh_form(value).probability; }, x);
  else map<V>(out, n, [](V value) { return value * normal_probability(value); }, x);
}

// dx = grad · (Φ(x) + x · Φ′(x))
template <typename V>
void gelu_backward(const ElementOf<V>* grad, const ElementOf<V>* x, ElementOf<V>* out, std::int64_t n,
                   bool is_tanh_form) {
  if (is_tanh_form) {
    const auto formula = [](V g, V value) {
      const auto form = tanh_form(value);
      return g * fma(value, form.density, form.probability);
    };
    map<V>(out, n, formula, grad, x);
  } else {
    const auto formula = [](V g, V value) {
      return g * fma(value, normal_density(value), normal_probability(value));
    };
    map<V>(out, n, formula, grad, x);
  }
}

}  // namespace
}  // namespace dtrain
