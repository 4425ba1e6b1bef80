// The optimizer updates over a vector type.
#pragma once

#include "optimizer/optimizer.h"
#include "simd/loop.h"

namespace dtrain {
namespace {

template <typename V>
void sgd_update(const typename V::Element* param, const typename V::Element* grad, const typename V::Element* buffer,
                typename V::Element* new_param, typename V::Element* new_buffer, std::int64_t n,
                const SgdSettings<typename V::Element>& settings) {
  using T = typename V::Element;
  const V minus_lr(-settings.lr), momentum(settings.momentum), decay(settings.weight_decay);
  const V fresh(T(1) - settings.dampening);
  for_each_vector<V>(n, [&](std::int64_t i, auto lane) {
    const V p = lane.load(param + i);
    V direction = fma(decay, p, lane.load(grad + i));
    if (buffer != nullptr) {
      const V moved = fma(momentum, lane.load(buffer + i), fresh * direction);
      lane.store(moved, new_buffer + i);
      direction = settings.nesterov ? fma(momentum, moved, direction) : moved;
    }
    lane.store(fma(minus_lr, direction, p), new_param + i);
  });
}

template <typename V>
void adam_update(const typename V::Element* param, const typename V::Element* grad, const typename V::Element* average,
                 const typename V::Element* square, const AdamState<typename V::Element>& updated, std::int64_t n,
                 const AdamSettings<typename V::Element>& settings) {
  const V beta1(settings.beta1), beta2(settings.beta2), eps(settings.eps);
  const V fresh1(settings.one_minus_beta1), fresh2(settings.one_minus_beta2);
  const V rate(settings.rate), correction2(settings.correction2);
  const V decay(settings.decay_grad), keep(settings.keep_param);
  for_each_vector<V>(n, [&](std::int64_t i, auto lane) {
    const V p = lane.load(param + i);
    const V g = fma(decay, p, lane.load(grad + i));
    const V m = fma(beta1, lane.load(average + i), fresh1 * g);
    const V v = fma(beta2, lane.load(square + i), fresh2 * (g * g));
    // Lanes beyond the end hold zeros; with eps = 0 they divide 0 by 0, which nobody sees.
    const V change = rate * m / (sqrt(v) / correction2 + eps);
    lane.store(m, updated.average + i);
    lane.store(v, updated.square + i);
    lane.store(keep * p - change, updated.param + i);
  });
}

}  // namespace
}  // namespace dtrain
