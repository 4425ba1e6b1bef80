// Reduction of equally shaped arrays in argument order, the one rule of summation of all communicators:
// out = ((a₀ ∘ a₁) ∘ a₂) ∘ …, accumulated in f32 for f16 and bf16, rounded once.
#include "block_reduce.cuh"

struct Multiply {
  template <typename A>
  __device__ A operator()(A first, A second) const {
    return first * second;
  }
};

// addresses[num_arrays] are those of the arrays. `out` may be one of them: an element is read before it is written.
template <typename T, typename Combine>
__device__ inline void reduce_arrays(const s64* addresses, int num_arrays, T* out, s64 size, int is_mean,
                                     Combine combine) {
  typedef Accumulator<T> A;
  for (s64 i = grid_start(); i < size; i += grid_stride()) {
    A total = widen(((const T*)addresses[0])[i]);
    for (int array = 1; array < num_arrays; ++array) total = combine(total, (A)widen(((const T*)addresses[array])[i]));
    if (is_mean && !(total * (A)0 == (A)0)) {  // the sum has left the range of numbers: its mean has not
      total = (A)widen(((const T*)addresses[0])[i]) / (A)num_arrays;
      for (int array = 1; array < num_arrays; ++array) {
        total += (A)widen(((const T*)addresses[array])[i]) / (A)num_arrays;
      }
      store(&out[i], total);
      continue;
    }
    store(&out[i], is_mean ? total / (A)num_arrays : total);
  }
}

// The sum of weights[r] · array r, products rounded one by one; an array of weight zero is not read.
template <typename T>
__device__ inline void sum_weighted(const s64* addresses, int num_arrays, const double* weights, T* out, s64 size) {
  typedef Accumulator<T> A;
  for (s64 i = grid_start(); i < size; i += grid_stride()) {
    A total = 0;
    bool is_first = true;
    for (int array = 0; array < num_arrays; ++array) {
      if (weights[array] == 0) continue;
      const A term = (A)weights[array] * (A)widen(((const T*)addresses[array])[i]);
      total = is_first ? term : total + term;
      is_first = false;
    }
    store(&out[i], total);
  }
}

// `op`: 0 sum, 1 mean, 2 prod, 3 min, 4 max, 5 weighted; only the last reads `weights`.
#define RANK_ORDER_REDUCE(NAME, T)                                                                               \
  extern "C" __global__ void __launch_bounds__(256)                                                              \
      NAME(const s64* addresses, int num_arrays, const double* weights, T* out, s64 size, int op) {              \
    if (op <= 1) reduce_arrays<T>(addresses, num_arrays, out, size, op == 1, Add());                             \
    if (op == 2) reduce_arrays<T>(addresses, num_arrays, out, size, 0, Multiply());                              \
    if (op == 3) reduce_arrays<T>(addresses, num_arrays, out, size, 0, Minimum());                               \
    if (op == 4) reduce_arrays<T>(addresses, num_arrays, out, size, 0, Maximum());                               \
    if (op == 5) sum_weighted<T>(addresses, num_arrays, weights, out, size);                                     \
  }

RANK_ORDER_REDUCE(rank_order_reduce_f16, f16)
RANK_ORDER_REDUCE(rank_order_reduce_bf16, bf16)
RANK_ORDER_REDUCE(rank_order_reduce_f32, float)
RANK_ORDER_REDUCE(rank_order_reduce_f64, double)
