// The elementwise halves of batch norm over x[N,C,S], S the size of a plane: normalize, and the gradient of x.
// T is the dtype of x, W that of weight and bias (T itself or f32), A that of all statistics.
#include "element.cuh"

// The channel of element i.
__device__ inline s64 channel_of(s64 i, s64 channels, s64 plane) {
  const s64 row = quotient(i, plane);
  return row - quotient(row, channels) * channels;
}

// y = (x − mean) · inverse_std · weight + bias.
template <typename T, typename W>
__device__ inline void normalize(const T* x, const Accumulator<T>* mean, const Accumulator<T>* inverse_std,
                                 const W* weight, const W* bias, T* out, s64 size, s64 channels, s64 plane) {
  typedef Accumulator<T> A;
  for (s64 i = grid_start(); i < size; i += grid_stride()) {
    const s64 c = channel_of(i, channels, plane);
    const A scale = inverse_std[c] * (A)widen(weight[c]);
    store(&out[i], ((A)widen(x[i]) - mean[c]) * scale + (A)widen(bias[c]));
  }
}

// dx = weight · inverse_std · (dy − Σdy / m − x̂ · Σ(dy·x̂) / m), m = stats[0] the count over all ranks.
template <typename T, typename W>
__device__ inline void backward_data(const T* dy, const T* x, const Accumulator<T>* mean,
                                     const Accumulator<T>* inverse_std, const W* weight,
                                     const Accumulator<T>* grad_sums, const Accumulator<T>* product_sums,
                                     const Accumulator<T>* stats, T* out, s64 size, s64 channels, s64 plane) {
  typedef Accumulator<T> A;
  const A count = stats[0] > 1 ? stats[0] : (A)1;
  for (s64 i = grid_start(); i < size; i += grid_stride()) {
    const s64 c = channel_of(i, channels, plane);
    const A normalized = ((A)widen(x[i]) - mean[c]) * inverse_std[c];
    const A centred = (A)widen(dy[i]) - grad_sums[c] / count - normalized * (product_sums[c] / count);
    store(&out[i], (A)widen(weight[c]) * inverse_std[c] * centred);
  }
}

#define BATCH_NORM_ELEMENTWISE(TAG, T, W)                                                                        \
  extern "C" __global__ void __launch_bounds__(256) batch_norm_normalize_##TAG(                                  \
      const T* x, const Accumulator<T>* mean, const Accumulator<T>* inverse_std, const W* weight, const W* bias, \
      T* out, s64 size, s64 channels, s64 plane) {                                                               \
    normalize<T, W>(x, mean, inverse_std, weight, bias, out, size, channels, plane);                             \
  }                                                                                                              \
  extern "C" __global__ void __launch_bounds__(256) batch_norm_backward_data_##TAG(                              \
      const T* dy, const T* x, const Accumulator<T>* mean, const Accumulator<T>* inverse_std, const W* weight,   \
      const Accumulator<T>* grad_sums, const Accumulator<T>* product_sums, const Accumulator<T>* stats, T* out,  \
      s64 size, s64 channels, s64 plane) {                                                                       \
    backward_data<T, W>(dy, x, mean, inverse_std, weight, grad_sums, product_sums, stats, out, size, channels,   \
                        plane);                                                                                  \
  }

BATCH_NORM_ELEMENTWISE(f16, f16, f16)
BATCH_NORM_ELEMENTWISE(bf16, bf16, bf16)
BATCH_NORM_ELEMENTWISE(f32, float, float)
BATCH_NORM_ELEMENTWISE(f64, double, double)
BATCH_NORM_ELEMENTWISE(f16_f32, f16, float)
BATCH_NORM_ELEMENTWISE(bf16_f32, bf16, float)
