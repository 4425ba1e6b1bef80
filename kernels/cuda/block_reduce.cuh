// Reduction over the threads of a block by a fixed tree: the same numbers give the same bits in every run.
#pragma once

#include "element.cuh"

// Combines one value a thread into one, returned to all threads. `shared` holds BLOCK_SIZE values and may be used
// again at once. The block's size must be a power of two, and every thread must come here.
template <typename Value, typename Merge>
__device__ inline Value block_reduce(Value mine, Merge merge, Value* shared) {
  const int thread = (int)threadIdx.x;
  shared[thread] = mine;
  for (int half = (int)blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (thread < half) shared[thread] = merge(shared[thread], shared[thread + half]);
  }
  __syncthreads();
  const Value result = shared[0];
  __syncthreads();
  return result;
}

struct Add {
  template <typename A>
  __device__ A operator()(A first, A second) const {
    return first + second;
  }
};

// NaN wins, as in NumPy.
struct Maximum {
  template <typename A>
  __device__ A operator()(A first, A second) const {
    return first >= second || first != first ? first : second;
  }
};

struct Minimum {
  template <typename A>
  __device__ A operator()(A first, A second) const {
    return first <= second || first != first ? first : second;
  }
};
