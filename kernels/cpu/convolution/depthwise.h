// Depthwise convolution over a vector type; 3×3 and 5×5 kernels of stride 1 have their loops unrolled.
//
// One plane at a time is laid into zeros, so that the inner loops know no borders, and its columns are dealt out by the
// stride, so that what neighbouring outputs read lies side by side. A vector of outputs is summed in a register over all
// taps and written once.
#pragma once

#include "convolution/convolution.h"
#include "convolution/generic.h"
#include "convolution/plane.h"
#include "simd/clear.h"
#include "simd/finite.h"
#include "simd/loop.h"

namespace dtrain {
namespace {

// How outputs read a plane: output (h, w), through tap t, at h · step · row + places[t] + w. The places stand in the
// workspace, behind the plane and 16 numbers a tap.
template <typename T>
struct Reading {
  Reading(const ConvolutionShape& s, const PaddedPlane& plane, std::int64_t step_h, T* workspace)
      : row(plane.row()), step(step_h), count(s.kernel_height * s.kernel_width),
        is_dense(step_h == 1 && s.dilation_h == 1 && s.dilation_w == 1 && plane.phases == 1) {
    std::int64_t* place = reinterpret_cast<std::int64_t*>(workspace + plane.room() + 16 * count);
    places = place;
    for (std::int64_t i = 0; i < s.kernel_height; ++i) {
      for (std::int64_t j = 0; j < s.kernel_width; ++j) *place++ = plane.at(i * s.dilation_h, j * s.dilation_w);
    }
  }

  std::int64_t row, step, count;
  bool is_dense;
  const std::int64_t* places;
};

// ROWS rows of outputs at once through a dense K×K kernel: a row of the plane is loaded once for all that see it.
template <typename V, int K, int ROWS>
void convolve_rows(const typename V::Element* plane, std::int64_t row, const V (&weights)[K * K],
                   typename V::Element* y, std::int64_t width, bool adds) {
  for_each_vector<V>(width, [&](std::int64_t w, auto lane) {
    V sums[ROWS];
    for (int q = 0; q < ROWS; ++q) sums[q] = adds ? lane.load(y + q * width + w) : V::zero();
#pragma GCC unroll 16
    for (int r = 0; r < ROWS + K - 1; ++r) {
#pragma GCC unroll 16
      for (int j = 0; j < K; ++j) {
        const V seen = V::load(plane + r * row + w + j);
#pragma GCC unroll 16
        for (int q = 0; q < ROWS; ++q) {
          if (r - q >= 0 && r - q < K) sums[q] = fma(weights[(r - q) * K + j], seen, sums[q]);
        }
      }
    }
    for (int q = 0; q < ROWS; ++q) lane.store(sums[q], y + q * width + w);
  });
}

template <typename V, int K>
void convolve_dense(const typename V::Element* plane, std::int64_t row, const typename V::Element* weights,
                    typename V::Element* y, std::int64_t height, std::int64_t width, bool adds) {
  constexpr int kRows = K == 3 ? 4 : 2;
  V taps[K * K];
  for (int t = 0; t < K * K; ++t) taps[t] = V(weights[t]);
  std::int64_t h = 0;
  for (; h + kRows <= height; h += kRows) convolve_rows<V, K, kRows>(plane + h * row, row, taps, y + h * width, width, adds);
  for (; h < height; ++h) convolve_rows<V, K, 1>(plane + h * row, row, taps, y + h * width, width, adds);
}

// ROWS rows of outputs at once through any taps, so that the multipliers need not wait for a sum.
template <typename V, int ROWS>
void convolve_taps(const typename V::Element* plane, const Reading<typename V::Element>& reading, const typename V::Element* weights,
                   std::int64_t h, typename V::Element* y, std::int64_t width, bool adds) {
  const typename V::Element* rows = plane + h * reading.step * reading.row;
  y += h * width;
  for_each_vector<V>(width, [&](std::int64_t w, auto lane) {
    V sums[ROWS];
    for (int q = 0; q < ROWS; ++q) sums[q] = adds ? lane.load(y + q * width + w) : V::zero();
    for (std::int64_t t = 0; t < reading.count; ++t) {
      const typename V::Element* from = rows + reading.places[t] + w;
      const V weight(weights[t]);
      for (int q = 0; q < ROWS; ++q) sums[q] = fma(weight, V::load(from + q * reading.step * reading.row), sums[q]);
    }
    for (int q = 0; q < ROWS; ++q) lane.store(sums[q], y + q * width + w);
  });
}

// One plane of outputs from one in its zeros.
template <typename V>
void convolve_plane(const typename V::Element* plane, const Reading<typename V::Element>& reading, const typename V::Element* weights,
                    typename V::Element* y, std::int64_t height, std::int64_t width, const ConvolutionShape& s,
                    bool adds) {
  if (reading.is_dense && s.kernel_height == 3 && s.kernel_width == 3) {
    convolve_dense<V, 3>(plane, reading.row, weights, y, height, width, adds);
    return;
  }
  if (reading.is_dense && s.kernel_height == 5 && s.kernel_width == 5) {
    convolve_dense<V, 5>(plane, reading.row, weights, y, height, width, adds);
    return;
  }
  std::int64_t h = 0;
  for (; h + 4 <= height; h += 4) convolve_taps<V, 4>(plane, reading, weights, h, y, width, adds);
  for (; h < height; ++h) convolve_taps<V, 1>(plane, reading, weights, h, y, width, adds);
}

template <typename V>
void conv2d_depthwise(const typename V::Element* x, const typename V::Element* weights, typename V::Element* y,
                      const ConvolutionShape& s, Range channels, typename V::Element* workspace) {
  using T = typename V::Element;
  const PaddedPlane plane = plane_of_x(s);
  const Reading<T> reading(s, plane, s.stride_h, workspace);
  const Placement at{s.height, s.width, 1, 1, s.pad_h, s.pad_w};
  const std::int64_t per_input = s.out_channels / s.channels, taps = s.kernel_height * s.kernel_width;
  clear(workspace, plane.size());
  for (std::int64_t image = 0; image < s.batch; ++image) {
    for (std::int64_t channel = channels.begin; channel < channels.end; ++channel) {
      place<V>(x + (image * s.channels + channel) * s.height * s.width, at, workspace, plane);
      for (std::int64_t o = channel * per_input; o < (channel + 1) * per_input; ++o) {
        convolve_plane<V>(workspace, reading, weights + o * taps,
                          y + (image * s.out_channels + o) * s.out_height * s.out_width, s.out_height, s.out_width, s,
                          false);
      }
    }
  }
}

// dx is dy, spread by the stride into zeros, through the kernel turned by 180°. A weight that is not finite must not
// meet those zeros: 0 · ∞ is NaN.
template <typename V>
void conv2d_backward_data_depthwise(const typename V::Element* dy, const typename V::Element* weights,
                                    typename V::Element* dx, const ConvolutionShape& s, Range channels,
                                    typename V::Element* workspace) {
  using T = typename V::Element;
  const PaddedPlane plane = plane_of_dy(s);
  const Reading<T> reading(s, plane, 1, workspace);
  const Placement at{s.out_height,
                     s.out_width,
                     s.stride_h,
                     s.stride_w,
                     (s.kernel_height - 1) * s.dilation_h - s.pad_h,
                     (s.kernel_width - 1) * s.dilation_w - s.pad_w};
  const std::int64_t per_input = s.out_channels / s.channels, taps = s.kernel_height * s.kernel_width;
  T* turned = workspace + plane.room();
  clear(workspace, plane.size());
  for (std::int64_t channel = channels.begin; channel < channels.end; ++channel) {
    for (std::int64_t o = channel * per_input; o < (channel + 1) * per_input; ++o) {
      for (std::int64_t t = 0; t < taps; ++t) turned[t] = weights[(o + 1) * taps - 1 - t];
      const bool is_finite = all_finite<V>(turned, taps);
      for (std::int64_t image = 0; image < s.batch; ++image) {
        if (!is_finite) {
          spread_plane<V>(dy + (image * s.out_channels + o) * s.out_height * s.out_width, weights + o * taps,
                          dx + (image * s.channels + channel) * s.height * s.width, s, o > channel * per_input);
          continue;
        }
        place<V>(dy + (image * s.out_channels + o) * s.out_height * s.out_width, at, workspace, plane);
        convolve_plane<V>(workspace, reading, turned, dx + (image * s.channels + channel) * s.height * s.width,
                          s.height, s.width, s, o > channel * per_input);
      }
    }
  }
}

// sums[t] += Σ dy · what tap t sees, lane by lane. A vector that sticks out is cut on both sides: 0 · ∞ is no 0.
template <typename V, int K>
void sum_taps_dense(const typename V::Element* plane, std::int64_t row, const typename V::Element* dy,
                    std::int64_t height, std::int64_t width, typename V::Element* sums) {
  V taps[K * K];
  for (int t = 0; t < K * K; ++t) taps[t] = V::load(sums + t * V::width);
  for (std::int64_t h = 0; h < height; ++h) {
    const typename V::Element* rows = plane + h * row;
    for_each_vector<V>(width, [&](std::int64_t w, auto lane) {
      const V grad = lane.load(dy + h * width + w);
#pragma GCC unroll 16
      for (int i = 0; i < K; ++i) {
#pragma GCC unroll 16
        for (int j = 0; j < K; ++j) taps[i * K + j] = fma(grad, lane.load(rows + i * row + w + j), taps[i * K + j]);
      }
    });
  }
  for (int t = 0; t < K * K; ++t) taps[t].store(sums + t * V::width);
}

template <typename V>
void sum_taps(const typename V::Element* plane, const Reading<typename V::Element>& reading, const typename V::Element* dy,
              const ConvolutionShape& s, typename V::Element* sums) {
  if (reading.is_dense && s.kernel_height == 3 && s.kernel_width == 3) {
    sum_taps_dense<V, 3>(plane, reading.row, dy, s.out_height, s.out_width, sums);
    return;
  }
  for (std::int64_t t = 0; t < reading.count; ++t, sums += V::width) {
    const typename V::Element* from = plane + reading.places[t];
    V sum = V::load(sums);
    for (std::int64_t h = 0; h < s.out_height; ++h) {
      for_each_vector<V>(s.out_width, [&](std::int64_t w, auto lane) {
        sum = fma(lane.load(dy + h * s.out_width + w), lane.load(from + h * reading.step * reading.row + w), sum);
      });
    }
    sum.store(sums);
  }
}

template <typename V>
void conv2d_backward_weights_depthwise(const typename V::Element* dy, const typename V::Element* x,
                                       typename V::Element* dweights, const ConvolutionShape& s,
                                       Range channels, typename V::Element* workspace) {
  using T = typename V::Element;
  const PaddedPlane plane = plane_of_x(s);
  const Reading<T> reading(s, plane, s.stride_h, workspace);
  const Placement at{s.height, s.width, 1, 1, s.pad_h, s.pad_w};
  const std::int64_t per_input = s.out_channels / s.channels, taps = s.kernel_height * s.kernel_width;
  T* sums = workspace + plane.room();
  clear(workspace, plane.size());
  for (std::int64_t o = channels.begin * per_input; o < channels.end * per_input; ++o) {
    clear(sums, taps * V::width);
    for (std::int64_t image = 0; image < s.batch; ++image) {
      place<V>(x + (image * s.channels + o / per_input) * s.height * s.width, at, workspace, plane);
      sum_taps<V>(workspace, reading, dy + (image * s.out_channels + o) * s.out_height * s.out_width, s, sums);
    }
    for (std::int64_t t = 0; t < taps; ++t) dweights[o * taps + t] = V::load(sums + t * V::width).sum();
  }
}

}  // namespace
}  // namespace dtrain
