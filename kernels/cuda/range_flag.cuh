// A bad index value, left for the host: flag = [number of the finding, value], number 0 while nothing was found.
#pragma once
#include "element.cuh"

__device__ inline void report(unsigned long long* flag, s64 number, s64 value) {
  if (atomicCAS(flag, 0ULL, (unsigned long long)number) == 0ULL) flag[1] = (unsigned long long)value;
}
