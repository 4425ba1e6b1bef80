// Batch norm over channels, cut where ranks have to talk.
//
// Shapes: x, y, dx, dy [batch][channels][spatial]; mean, inverse_std, variance, weight, bias, running values, and the
// sums of the backward pass, grad_sums = Σdy and product_sums = Σdy·x̂, [channels];
// stats [1 + 2·channels] = count | mean | M2 with M2 = Σ(x − mean)².
#pragma once

#include <cstdint>

#include "simd/range.h"

namespace dtrain {

// `part` is which channels are to be computed; the arrays have all.
struct ChannelShape {
  std::int64_t batch, channels, spatial;
  Range part;
};

template <typename T>
using batch_norm_statistics_fn = void(const T* x, T* stats, const ChannelShape& shape);

// Chan's merge of the stats of `ranks` ranks, gathered [ranks][1 + 2·channels], in rank order. Counts may be zero.
template <typename T>
using batch_norm_merge_fn = void(const T* gathered, std::int64_t ranks, std::int64_t channels, T* stats);

template <typename T>
using batch_norm_moments_fn = void(const T* stats, std::int64_t channels, T eps, T* mean, T* inverse_std, T* variance);

template <typename T>
using batch_norm_normalize_fn = void(const T* x, const T* mean, const T* inverse_std, const T* weight, const T* bias,
                                     T* y, const ChannelShape& shape);

// The new values may be written over the old ones.
template <typename T>
using batch_norm_update_running_fn = void(const T* running_mean, const T* running_var, const T* stats,
                                          std::int64_t channels, T momentum, T* new_mean, T* new_var);

template <typename T>
using batch_norm_backward_sums_fn = void(const T* dy, const T* x, const T* mean, const T* inverse_std, T* grad_sums,
                                         T* product_sums, const ChannelShape& shape);

template <typename T>
struct BackwardInputs {
  const T *dy, *x, *mean, *inverse_std, *weight, *grad_sums, *product_sums, *stats;
};

template <typename T>
using batch_norm_backward_data_fn = void(const BackwardInputs<T>& inputs, T* dx, const ChannelShape& shape);

}  // namespace dtrain
