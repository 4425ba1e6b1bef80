// Are all index values in [low, high)? The answer stays on the GPU until the host waits for it anyway.
#include "range_flag.cuh"

template <typename T>
__device__ inline void check(const T* index, s64 size, s64 low, s64 high, s64 number, unsigned long long* flag) {
  for (s64 i = grid_start(); i < size; i += grid_stride()) {
    if (index[i] < low || index[i] >= high) report(flag, number, index[i]);
  }
}

#define RANGE_CHECK(TAG, T)                                                                                   \
  extern "C" __global__ void __launch_bounds__(256)                                                           \
      range_check_##TAG(const T* index, s64 size, s64 low, s64 high, s64 number, unsigned long long* flag) {  \
    check<T>(index, size, low, high, number, flag);                                                           \
  }

RANGE_CHECK(s32, int)
RANGE_CHECK(s64, s64)
