// Batch norm over a vector type.
#pragma once

#include <cmath>

#include "batch_norm/channels.h"

namespace dtrain {
namespace {

// Two passes, and what rounding left in the mean subtracted again.
template <typename V>
void batch_norm_statistics(const typename V::Element* x, typename V::Element* stats, const ChannelShape& shape) {
  using T = typename V::Element;
  const std::int64_t count = shape.batch * shape.spatial;
  if (shape.part.begin == 0) stats[0] = static_cast<T>(count);
  if (count == 0) {
    for (std::int64_t i = shape.part.begin; i < shape.part.end; ++i) stats[1 + i] = stats[1 + shape.channels + i] = T(0);
    return;
  }
  const V samples(static_cast<T>(count));
  T *means = stats + 1, *squares_of = means + shape.channels;
  for_each_group<V>(shape, 1 << 17, [&](const ChannelShape& group) {
    sum_channels<V, 1>(
        group,
        [&](const auto& block, V (&sums)[1]) {
          V sum = sums[0];
          block.walk([&](auto lane, std::int64_t at) { sum = sum + lane.load(x + at); });
          sums[0] = sum;
        },
        [&](const auto& block, const V (&sums)[1]) { block.store(block.total(sums[0]) / samples, means); });
    sum_channels<V, 2>(
        group,
        [&](const auto& block, V (&sums)[2]) {
          const V mean = block.per(means);
          V residuals = sums[0], squares = sums[1];
          block.walk([&](auto lane, std::int64_t at) {
            const V deviation = lane.keep(lane.load(x + at) - mean);
            residuals = residuals + deviation;
            squares = fma(deviation, deviation, squares);
          });
          sums[0] = residuals;
          sums[1] = squares;
        },
        [&](const auto& block, const V (&sums)[2]) {
          const V residual = block.total(sums[0]);
          block.store(block.per(means) + residual / samples, means);
          block.store(block.total(sums[1]) - residual * residual / samples, squares_of);
        });
  });
}

template <typename V>
void batch_norm_normalize(const typename V::Element* x, const typename V::Element* mean,
                          const typename V::Element* inverse_std, const typename V::Element* weight,
                          const typename V::Element* bias, typename V::Element* y, const ChannelShape& shape) {
  for_each_block<V>(shape, [&](const auto& block) {
    // x − mean first: folding the mean into the bias would cancel digits at large offsets.
    const V centre = block.per(mean), scale = block.per(inverse_std) * block.per(weight), shift = block.per(bias);
    block.walk([&](auto lane, std::int64_t at) { lane.store(fma(lane.load(x + at) - centre, scale, shift), y + at); });
  });
}

template <typename V>
void batch_norm_backward_sums(const typename V::Element* dy, const typename V::Element* x,
                              const typename V::Element* mean, const typename V::Element* inverse_std,
                              typename V::Element* grad_sums, typename V::Element* product_sums,
                              const ChannelShape& shape) {
  for_each_group<V>(shape, 1 << 30, [&](const ChannelShape& group) {
    sum_channels<V, 2>(
        group,
        [&](const auto& block, V (&sums)[2]) {
          const V centre = block.per(mean), scale = block.per(inverse_std);
          V grads = sums[0], products = sums[1];
          block.walk([&](auto lane, std::int64_t at) {
            const V grad = lane.load(dy + at);
            grads = grads + grad;
            // Missing lanes have a gradient of zero.
            products = fma(grad, (lane.load(x + at) - centre) * scale, products);
          });
          sums[0] = grads;
          sums[1] = products;
        },
        [&](const auto& block, const V (&sums)[2]) {
          block.store(block.total(sums[0]), grad_sums);
          block.store(block.total(sums[1]), product_sums);
        });
  });
}

template <typename V>
void batch_norm_backward_data(const BackwardInputs<typename V::Element>& inputs, typename V::Element* dx,
                              const ChannelShape& shape) {
  using T = typename V::Element;
  const V samples(inputs.stats[0] > T(1) ? inputs.stats[0] : T(1));
  for_each_block<V>(shape, [&](const auto& block) {
    const V centre = block.per(inputs.mean), inverse_std = block.per(inputs.inverse_std);
    const V scale = block.per(inputs.weight) * inverse_std;
    const V mean_grad = block.per(inputs.grad_sums) / samples;
    // x̂ · Σ(dy·x̂)/m = (x − mean) · slope
    const V slope = inverse_std * (block.per(inputs.product_sums) / samples);
    const T *dy = inputs.dy, *x = inputs.x;
    block.walk([&](auto lane, std::int64_t at) {
      const V centred = lane.load(dy + at) - mean_grad - (lane.load(x + at) - centre) * slope;
      lane.store(scale * centred, dx + at);
    });
  });
}

template <typename V>
void batch_norm_merge(const typename V::Element* gathered, std::int64_t ranks, std::int64_t channels,
                      typename V::Element* stats) {
  using T = typename V::Element;
  for (std::int64_t i = 0; i < 1 + 2 * channels; ++i) stats[i] = gathered[i];
  for (std::int64_t rank = 1; rank < ranks; ++rank) {
    const T* row = gathered + rank * (1 + 2 * channels);
    const T total = stats[0] + row[0];
    const T share = row[0] / (total > T(1) ? total : T(1));
    const T weight = stats[0] * share;
    for (std::int64_t i = 1; i <= channels; ++i) {
      const T delta = row[i] - stats[i];
      stats[i] += delta * share;
      stats[channels + i] = stats[channels + i] + row[channels + i] + delta * delta * weight;
    }
    stats[0] = total;
  }
}

template <typename V>
void batch_norm_moments(const typename V::Element* stats, std::int64_t channels, typename V::Element eps,
                        typename V::Element* mean, typename V::Element* inverse_std, typename V::Element* variance) {
  using T = typename V::Element;
  const T count = stats[0] > T(1) ? stats[0] : T(1);
  for (std::int64_t i = 0; i < channels; ++i) {
    mean[i] = stats[1 + i];
    variance[i] = stats[1 + channels + i] / count;
    inverse_std[i] = T(1) / std::sqrt(variance[i] + eps);
  }
}

template <typename V>
void batch_norm_update_running(const typename V::Element* running_mean, const typename V::Element* running_var,
                               const typename V::Element* stats, std::int64_t channels, typename V::Element momentum,
                               typename V::Element* new_mean, typename V::Element* new_var) {
  using T = typename V::Element;
  // Zero samples say nothing: the running values stay.
  const T fresh = stats[0] > T(0) ? momentum : T(0);
  const T degrees = stats[0] > T(2) ? stats[0] - T(1) : T(1);
  for (std::int64_t i = 0; i < channels; ++i) {
    new_mean[i] = (T(1) - fresh) * running_mean[i] + fresh * stats[1 + i];
    new_var[i] = (T(1) - fresh) * running_var[i] + fresh * (stats[1 + channels + i] / degrees);
  }
}

}  // namespace
}  // namespace dtrain
