// Max pooling of planes: y[p,h,w] and the place of the maximum in its plane, and the way back, without temporaries.
// The first of equal maxima wins, the first NaN wins over every number; padding never takes part.
#include "element.cuh"

struct Windows {
  s64 planes, height, width, output_height, output_width, kernel_height, kernel_width;
  s64 stride_height, stride_width, padding_height, padding_width, dilation_height, dilation_width;
};

template <typename T>
__device__ inline void max_pool2d(const T* x, T* y, int* indices, const Windows& g) {
  typedef Accumulator<T> A;
  for (s64 i = grid_start(); i < g.planes * g.output_height * g.output_width; i += grid_stride()) {
    const s64 row = quotient(i, g.output_width), plane = quotient(row, g.output_height);
    const s64 top = (row - plane * g.output_height) * g.stride_height - g.padding_height;
    const s64 left = (i - row * g.output_width) * g.stride_width - g.padding_width;
    const T* image = x + plane * g.height * g.width;
    s64 best = -1;
    A largest = 0;
    for (s64 kh = 0; kh < g.kernel_height; ++kh) {
      const s64 h = top + kh * g.dilation_height;
      if (h < 0 || h >= g.height) continue;
      for (s64 kw = 0; kw < g.kernel_width; ++kw) {
        const s64 w = left + kw * g.dilation_width;
        if (w < 0 || w >= g.width) continue;
        const A value = widen(image[h * g.width + w]);
        // Once it is NaN, `largest` stays: nothing is larger, and no later NaN replaces it.
        if (best < 0 || value > largest || (value != value && largest == largest)) {
          best = h * g.width + w;
          largest = value;
        }
      }
    }
    store(&y[i], largest);
    indices[i] = (int)best;
  }
}

// A block per plane; each thread adds, in the order of the outputs, to the places that are its own.
template <typename T>
__device__ inline void max_pool2d_backward(const T* dy, const int* indices, T* dx, s64 planes, s64 outputs, s64 size) {
  for (s64 plane = blockIdx.x; plane < planes; plane += gridDim.x) {
    T* image = dx + plane * size;
    const T* grad = dy + plane * outputs;
    const int* place = indices + plane * outputs;
    for (s64 i = threadIdx.x; i < size; i += BLOCK_SIZE) image[i] = 0;
    for (s64 i = 0; i < outputs; ++i) {
      if (place[i] % BLOCK_SIZE == (int)threadIdx.x) image[place[i]] += grad[i];
    }
  }
}

#define MAX_POOL2D(TAG, T)                                                                                           \
  extern "C" __global__ void __launch_bounds__(256) max_pool2d_##TAG(                                               \
      const T* x, T* y, int* indices, s64 planes, s64 height, s64 width, s64 output_height, s64 output_width,       \
      s64 kernel_height, s64 kernel_width, s64 stride_height, s64 stride_width, s64 padding_height,                 \
      s64 padding_width, s64 dilation_height, s64 dilation_width) {                                                 \
    max_pool2d<T>(x, y, indices, Windows{planes, height, width, output_height, output_width, kernel_height,         \
                                         kernel_width, stride_height, stride_width, padding_height, padding_width,  \
                                         dilation_height, dilation_width});                                         \
  }

#define MAX_POOL2D_BACKWARD(TAG, T)                                                       \
  extern "C" __global__ void __launch_bounds__(256) max_pool2d_backward_##TAG(            \
      const T* dy, const int* indices, T* dx, s64 planes, s64 outputs, s64 size) {        \
    max_pool2d_backward<T>(dy, indices, dx, planes, outputs, size);                       \
  }

MAX_POOL2D(f16, f16)
MAX_POOL2D(bf16, bf16)
MAX_POOL2D(f32, float)
MAX_POOL2D(f64, double)
MAX_POOL2D_BACKWARD(f32, float)
MAX_POOL2D_BACKWARD(f64, double)
