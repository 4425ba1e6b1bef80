// im2col and its adjoint, one launch each: columns[C,KH,KW,N,OH,OW] hold what every kernel position sees of x[N,C,H,W].
#include "element.cuh"

struct Geometry {
  s64 batch, channels, height, width, kernel_height, kernel_width, output_height, output_width;
  s64 stride_height, stride_width, padding_height, padding_width, dilation_height, dilation_width;
};

// i = quotient · divisor + remainder; i becomes the quotient.
__device__ inline s64 take_digit(s64& i, s64 divisor) {
  const s64 rest = quotient(i, divisor), digit = i - rest * divisor;
  i = rest;
  return digit;
}

template <typename T>
__device__ inline void im2col(const T* x, T* columns, const Geometry& g) {
  const s64 size = g.channels * g.kernel_height * g.kernel_width * g.batch * g.output_height * g.output_width;
  for (s64 i = grid_start(); i < size; i += grid_stride()) {
    s64 rest = i;
    const s64 ow = take_digit(rest, g.output_width), oh = take_digit(rest, g.output_height);
    const s64 n = take_digit(rest, g.batch), kw = take_digit(rest, g.kernel_width);
    const s64 kh = take_digit(rest, g.kernel_height), c = rest;
    const s64 h = oh * g.stride_height + kh * g.dilation_height - g.padding_height;
    const s64 w = ow * g.stride_width + kw * g.dilation_width - g.padding_width;
    const bool is_inside = h >= 0 && h < g.height && w >= 0 && w < g.width;
    store(&columns[i], is_inside ? widen(x[((n * g.channels + c) * g.height + h) * g.width + w]) : (Accumulator<T>)0);
  }
}

// The output position that sees input position `at` through kernel position `k`, or −1.
__device__ inline s64 seen_by(s64 at, s64 k, s64 stride, s64 padding, s64 dilation, s64 outputs) {
  const s64 from = at + padding - k * dilation;
  if (from < 0) return -1;
  const s64 output = quotient(from, stride);
  return output * stride == from && output < outputs ? output : -1;
}

// Every element of dx sums what it was seen as, kernel positions in order: no atomics, so runs repeat bitwise.
template <typename T>
__device__ inline void col2im(const T* columns, T* x, const Geometry& g) {
  const s64 size = g.batch * g.channels * g.height * g.width;
  const s64 plane = g.batch * g.output_height * g.output_width;
  for (s64 i = grid_start(); i < size; i += grid_stride()) {
    s64 rest = i;
    const s64 w = take_digit(rest, g.width), h = take_digit(rest, g.height), c = take_digit(rest, g.channels), n = rest;
    Accumulator<T> total = 0;
    for (s64 kh = 0; kh < g.kernel_height; ++kh) {
      const s64 oh = seen_by(h, kh, g.stride_height, g.padding_height, g.dilation_height, g.output_height);
      if (oh < 0) continue;
      for (s64 kw = 0; kw < g.kernel_width; ++kw) {
        const s64 ow = seen_by(w, kw, g.stride_width, g.padding_width, g.dilation_width, g.output_width);
        if (ow < 0) continue;
        const s64 position = (c * g.kernel_height + kh) * g.kernel_width + kw;
        total += widen(columns[position * plane + (n * g.output_height + oh) * g.output_width + ow]);
      }
    }
    store(&x[i], total);
  }
}

#define WITH_GEOMETRY(NAME, TAG, T)                                                                                   \
  extern "C" __global__ void __launch_bounds__(256) NAME##_##TAG(                                                     \
      const T* source, T* target, s64 batch, s64 channels, s64 height, s64 width, s64 kernel_height, s64 kernel_width, \
      s64 output_height, s64 output_width, s64 stride_height, s64 stride_width, s64 padding_height,                   \
      s64 padding_width, s64 dilation_height, s64 dilation_width) {                                                   \
    NAME<T>(source, target, Geometry{batch, channels, height, width, kernel_height, kernel_width, output_height,      \
                                     output_width, stride_height, stride_width, padding_height, padding_width,        \
                                     dilation_height, dilation_width});                                               \
  }

#define IM2COL(TAG, T)           \
  WITH_GEOMETRY(im2col, TAG, T)  \
  WITH_GEOMETRY(col2im, TAG, T)

IM2COL(f16, f16)
IM2COL(bf16, bf16)
IM2COL(f32, float)
IM2COL(f64, double)
