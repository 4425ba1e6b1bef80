#include "batch_norm/batch_norm.h"
#include "binding/share.h"
#include "binding/table.h"

namespace dtrain {
namespace {

template <typename T>
ChannelShape read_shape(Call& call, const Array<const T>& x) {
  call.expect(x.ndim >= 2, "x[N,C,...]");
  ChannelShape shape{x.shape[0], x.shape[1], 1, {0, x.shape[1]}};
  for (int axis = 2; axis < x.ndim; ++axis) shape.spatial *= x.shape[axis];
  return shape;
}

// run(channels of the part) for all parts, of what takes as long as moving `bytes`.
template <typename Run>
void share_channels(const ChannelShape& shape, std::int64_t bytes, const Run& run) {
  ReleaseGil unlocked(bytes);
  share(shape.channels, bytes, [&](Range channels, std::int64_t) {
    ChannelShape part = shape;
    part.part = channels;
    run(part);
  });
}

// A vector of `size` elements among the inputs.
template <typename T>
const T* read_vector(Call& call, int index, std::int64_t size) {
  const auto vector = call.input<T>(index, 1);
  call.expect(vector.size == size, "one value a channel, and stats[2C+1]");
  return vector.data;
}

template <typename T>
T* write_vector(Call& call, int index, std::int64_t size) {
  const auto vector = call.output<T>(index, 1);
  call.expect(vector.size == size, "outputs of one value a channel, and stats[2C+1]");
  return vector.data;
}

template <typename T>
auto bind_batch_norm_statistics(Call& call, batch_norm_statistics_fn<T>* kernel) {
  const auto x = call.input<T>(0);
  const ChannelShape shape = read_shape(call, x);
  T* stats = write_vector<T>(call, 0, 2 * shape.channels + 1);
  return [=] {
    share_channels(shape, 2 * x.size * sizeof(T), [&](const ChannelShape& part) { kernel(x.data, stats, part); });
  };
}

template <typename T>
auto bind_batch_norm_merge(Call& call, batch_norm_merge_fn<T>* kernel) {
  const auto gathered = call.input<T>(0, 2);
  call.expect(gathered.shape[0] > 0 && gathered.shape[1] % 2 == 1, "gathered[R,2C+1] of at least one rank");
  T* stats = write_vector<T>(call, 0, gathered.shape[1]);
  const std::int64_t ranks = gathered.shape[0], channels = (gathered.shape[1] - 1) / 2;
  return [=] { kernel(gathered.data, ranks, channels, stats); };
}

template <typename T>
auto bind_batch_norm_moments(Call& call, batch_norm_moments_fn<T>* kernel) {
  const auto stats = call.input<T>(0, 1);
  const std::int64_t channels = (stats.size - 1) / 2;
  call.expect(stats.size % 2 == 1, "stats[2C+1]");
  const T eps = static_cast<T>(call.number("eps"));
  T *mean = write_vector<T>(call, 0, channels), *inverse_std = write_vector<T>(call, 1, channels);
  T* variance = write_vector<T>(call, 2, channels);
  return [=] { kernel(stats.data, channels, eps, mean, inverse_std, variance); };
}

template <typename T>
auto bind_batch_norm_normalize(Call& call, batch_norm_normalize_fn<T>* kernel) {
  const auto x = call.input<T>(0);
  const auto y = call.output<T>();
  const ChannelShape shape = read_shape(call, x);
  call.expect(y.size == x.size, "y of the size of x");
  const T *mean = read_vector<T>(call, 1, shape.channels), *inverse_std = read_vector<T>(call, 2, shape.channels);
  const T *weight = read_vector<T>(call, 3, shape.channels), *bias = read_vector<T>(call, 4, shape.channels);
  return [=] {
    share_channels(shape, 2 * x.size * sizeof(T), [&](const ChannelShape& part) {
      kernel(x.data, mean, inverse_std, weight, bias, y.data, part);
    });
  };
}

template <typename T>
auto bind_batch_norm_update_running(Call& call, batch_norm_update_running_fn<T>* kernel) {
  const auto mean = call.input<T>(0, 1);
  const std::int64_t channels = mean.size;
  const T *variance = read_vector<T>(call, 1, channels), *stats = read_vector<T>(call, 2, 2 * channels + 1);
  const T momentum = static_cast<T>(call.number("momentum"));
  T *new_mean = write_vector<T>(call, 0, channels), *new_var = write_vector<T>(call, 1, channels);
  return [=] { kernel(mean.data, variance, stats, channels, momentum, new_mean, new_var); };
}

template <typename T>
auto bind_batch_norm_backward_sums(Call& call, batch_norm_backward_sums_fn<T>* kernel) {
  const auto dy = call.input<T>(0), x = call.input<T>(1);
  const ChannelShape shape = read_shape(call, x);
  call.expect(dy.size == x.size, "dy of the size of x");
  const T *mean = read_vector<T>(call, 2, shape.channels), *inverse_std = read_vector<T>(call, 3, shape.channels);
  T *grad_sums = write_vector<T>(call, 0, shape.channels), *product_sums = write_vector<T>(call, 1, shape.channels);
  return [=] {
    share_channels(shape, 2 * x.size * sizeof(T), [&](const ChannelShape& part) {
      kernel(dy.data, x.data, mean, inverse_std, grad_sums, product_sums, part);
    });
  };
}

template <typename T>
auto bind_batch_norm_backward_data(Call& call, batch_norm_backward_data_fn<T>* kernel) {
  const auto dy = call.input<T>(0), x = call.input<T>(1);
  const auto dx = call.output<T>();
  const ChannelShape shape = read_shape(call, x);
  call.expect(dy.size == x.size && dx.size == x.size, "dy and dx of the size of x");
  const std::int64_t channels = shape.channels;
  const BackwardInputs<T> inputs{dy.data, x.data, read_vector<T>(call, 2, channels), read_vector<T>(call, 3, channels),
                                 read_vector<T>(call, 4, channels), read_vector<T>(call, 5, channels),
                                 read_vector<T>(call, 6, channels), read_vector<T>(call, 7, 2 * channels + 1)};
  return [=] {
    share_channels(shape, 3 * x.size * sizeof(T), [&](const ChannelShape& part) { kernel(inputs, dx.data, part); });
  };
}

}  // namespace

}  // namespace dtrain

#define DTRAIN_FAMILY batch_norm
#define DTRAIN_KERNELS "batch_norm/kernels.inc"
#include "binding/rows.h"
