// Softmax and cross entropy in one pass over logits[N,C], a block a row, with label smoothing ε:
// q = (1 − ε)·onehot + ε/C, loss = log Σ exp(z) − Σ q·z, probabilities = softmax(z), dz = grad · (probabilities − q).
#include "block_reduce.cuh"
#include "range_flag.cuh"

__device__ inline s64 target_of(const void* targets, int targets_are_s64, s64 row) {
  return targets_are_s64 ? ((const s64*)targets)[row] : (s64)((const int*)targets)[row];
}

// A row whose target is no class becomes NaN, and the target is reported.
template <typename T>
__device__ inline void forward(const T* logits, const void* targets, int targets_are_s64, T* losses, T* probabilities,
                               unsigned long long* flag, s64 number, s64 rows, s64 classes, double label_smoothing) {
  typedef Accumulator<T> A;
  __shared__ A shared[BLOCK_SIZE];
  for (s64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const T* z = logits + row * classes;
    const s64 target = target_of(targets, targets_are_s64, row);
    if (target < 0 || target >= classes) {
      const A nan = (A)float_of_bits(0x7fc00000u);
      for (s64 i = threadIdx.x; i < classes; i += blockDim.x) store(&probabilities[row * classes + i], nan);
      if (threadIdx.x == 0) {
        store(&losses[row], nan);
        report(flag, number, target);
      }
      continue;
    }
    A mine = widen(z[threadIdx.x < classes ? threadIdx.x : 0]);
    for (s64 i = threadIdx.x; i < classes; i += blockDim.x) mine = Maximum()(mine, (A)widen(z[i]));
    const A largest = block_reduce(mine, Maximum(), shared);
    A my_total = 0, my_shifted = 0;
    for (s64 i = threadIdx.x; i < classes; i += blockDim.x) {
      const A shifted = (A)widen(z[i]) - largest;
      my_total += exp(shifted);
      my_shifted += shifted;
    }
    const A total = block_reduce(my_total, Add(), shared);
    const A mean = block_reduce(my_shifted, Add(), shared) / (A)classes;
    for (s64 i = threadIdx.x; i < classes; i += blockDim.x) {
      store(&probabilities[row * classes + i], exp((A)widen(z[i]) - largest) / total);
    }
    if (threadIdx.x == 0) {
      const A log_total = log(total), picked = (A)widen(z[target]) - largest;
      store(&losses[row], (A)(1 - label_smoothing) * (log_total - picked) + (A)label_smoothing * (log_total - mean));
    }
  }
}

template <typename T>
__device__ inline void backward(const T* grad, const T* probabilities, const void* targets, int targets_are_s64, T* out,
                                s64 rows, s64 classes, double label_smoothing) {
  typedef Accumulator<T> A;
  const A smooth = (A)(label_smoothing / (double)classes), peak = (A)(1 - label_smoothing);
  for (s64 i = grid_start(); i < rows * classes; i += grid_stride()) {
    const s64 row = quotient(i, classes);
    const A onehot = i - row * classes == target_of(targets, targets_are_s64, row) ? peak : (A)0;
    store(&out[i], (A)widen(grad[row]) * ((A)widen(probabilities[i]) - smooth - onehot));
  }
}

#define SOFTMAX_CROSS_ENTROPY(TAG, T)                                                                            \
  extern "C" __global__ void __launch_bounds__(256) softmax_cross_entropy_##TAG(                                 \
      const T* logits, const void* targets, int targets_are_s64, T* losses, T* probabilities,                    \
      unsigned long long* flag, s64 number, s64 rows, s64 classes, double label_smoothing) {                     \
    forward<T>(logits, targets, targets_are_s64, losses, probabilities, flag, number, rows, classes,             \
               label_smoothing);                                                                                 \
  }                                                                                                              \
  extern "C" __global__ void __launch_bounds__(256) softmax_cross_entropy_backward_##TAG(                        \
      const T* grad, const T* probabilities, const void* targets, int targets_are_s64, T* out, s64 rows,         \
      s64 classes, double label_smoothing) {                                                                     \
    backward<T>(grad, probabilities, targets, targets_are_s64, out, rows, classes, label_smoothing);             \
  }

SOFTMAX_CROSS_ENTROPY(f16, f16)
SOFTMAX_CROSS_ENTROPY(bf16, bf16)
SOFTMAX_CROSS_ENTROPY(f32, float)
SOFTMAX_CROSS_ENTROPY(f64, double)
