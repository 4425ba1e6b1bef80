// The activation kernels over a vector type.
#pragma once

#include "activation/activation.h"
#include "activation/normal_distribution.h"
#include "simd/loop.h"

namespace dtrain {
namespace {

template <typename V>
using ElementOf = typename V::Element;

template <typename V, typename Formula>
__attribute__((always_inline)) inline void map(const ElementOf<V>* x, ElementOf<V>* out, std::int64_t n,
                                               Formula formula) {
  for_each_vector<V>(n, [&](std::int64_t i, auto lane) { lane.store(formula(lane.load(x + i)), out + i); });
}

template <typename V, typename Formula>
__attribute__((always_inline)) inline void map(const ElementOf<V>* grad, const ElementOf<V>* from, ElementOf<V>* out,
                                               std::int64_t n, Formula formula) {
  for_each_vector<V>(n, [&](std::int64_t i, auto lane) {
    lane.store(formula(lane.load(grad + i), lane.load(from + i)), out + i);
  });
}

// max() and min() give their second argument where either is NaN, so NaN goes through.
template <typename V>
void relu(const ElementOf<V>* x, ElementOf<V>* out, std::int64_t n) {
  map<V>(x, out, n, [](V value) { return max(V::zero(), value); });
}

template <typename V>
void relu6(const ElementOf<V>* x, ElementOf<V>* out, std::int64_t n) {
  const V six(ElementOf<V>(6));
  map<V>(x, out, n, [=](V value) { return min(six, max(V::zero(), value)); });
}

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

template <typename V>
void sigmoid(const ElementOf<V>* x, ElementOf<V>* out, std::int64_t n) {
  map<V>(x, out, n, [](V value) { return sigmoid_of(value); });
}

template <typename V>
void silu(const ElementOf<V>* x, ElementOf<V>* out, std::int64_t n) {
  map<V>(x, out, n, [](V value) { return value * sigmoid_of(value); });
}

template <typename V>
void hswish(const ElementOf<V>* x, ElementOf<V>* out, std::int64_t n) {
  using T = ElementOf<V>;
  const V three(T(3)), six(T(6));
  map<V>(x, out, n, [=](V value) { return value * min(six, max(V::zero(), value + three)) / six; });
}

// What a gradient is where the formula has slope 0: 0, but NaN where the value is NaN, so that it stays visible.
template <typename V>
__attribute__((always_inline)) inline V flat(V value) {
  return min(V::zero(), max(V::zero(), value));
}

template <typename V>
void relu_backward(const ElementOf<V>* grad, const ElementOf<V>* y, ElementOf<V>* out, std::int64_t n) {
  map<V>(grad, y, out, n, [](V g, V value) { return select_positive(value, g, flat(value)); });
}

template <typename V>
void relu6_backward(const ElementOf<V>* grad, const ElementOf<V>* y, ElementOf<V>* out, std::int64_t n) {
  const V six(ElementOf<V>(6));
  map<V>(grad, y, out, n, [=](V g, V value) {
    return select_positive(value, select_positive(six - value, g, V::zero()), flat(value));
  });
}

template <typename V>
void sigmoid_backward(const ElementOf<V>* grad, const ElementOf<V>* y, ElementOf<V>* out, std::int64_t n) {
  const V one(ElementOf<V>(1));
  map<V>(grad, y, out, n, [=](V g, V value) { return g * (value * (one - value)); });
}

template <typename V>
void tanh_backward(const ElementOf<V>* grad, const ElementOf<V>* y, ElementOf<V>* out, std::int64_t n) {
  const V one(ElementOf<V>(1));
  map<V>(grad, y, out, n, [=](V g, V value) { return g * (one - value * value); });
}

template <typename V>
void silu_backward(const ElementOf<V>* grad, const ElementOf<V>* x, ElementOf<V>* out, std::int64_t n) {
  const V one(ElementOf<V>(1));
  map<V>(grad, x, out, n, [=](V g, V value) {
    const V gate = sigmoid_of(value);
    return g * (gate * (one + value * (one - gate)));
  });
}

template <typename V>
void hswish_backward(const ElementOf<V>* grad, const ElementOf<V>* x, ElementOf<V>* out, std::int64_t n) {
  using T = ElementOf<V>;
  const V three(T(3)), six(T(6)), one(T(1));
  map<V>(grad, x, out, n, [=](V g, V value) {
    const V slope = select_positive(three - value, (value + value + three) / six, one);
    return g * select_positive(value + three, slope, flat(value));
  });
}

}  // namespace
}  // namespace dtrain
