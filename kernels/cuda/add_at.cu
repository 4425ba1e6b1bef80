// out[positions[i]] += values[i] for every i, in order: no atomics, so that sums of floats repeat bitwise.
//
// The host sorts: `sorted` holds the positions in rising order, `order` where each came from, equal ones in their order.
// The thread at the head of a run of equal positions adds the run.
#include "element.cuh"

template <typename T>
__device__ inline void add_runs(const s64* sorted, const s64* order, const T* values, T* out, s64 size) {
  for (s64 i = grid_start(); i < size; i += grid_stride()) {
    const s64 position = sorted[i];
    if (i > 0 && sorted[i - 1] == position) continue;
    T total = out[position];
    for (s64 j = i; j < size && sorted[j] == position; ++j) total = (T)(total + values[order[j]]);
    out[position] = total;
  }
}

#define ADD_AT(TAG, T)                                                                    \
  extern "C" __global__ void __launch_bounds__(256)                                       \
      add_at_##TAG(const s64* sorted, const s64* order, const T* values, T* out, s64 size) { \
    add_runs<T>(sorted, order, values, out, size);                                        \
  }

ADD_AT(u8, unsigned char)
ADD_AT(s8, signed char)
ADD_AT(s16, short)
ADD_AT(s32, int)
ADD_AT(s64, s64)
ADD_AT(f32, float)
ADD_AT(f64, double)
