// Depthwise convolution by blocks of 16 channels: a vector holds a pixel of each, so that small images fill it too, and
// borders and strides are nothing but other places.
//
// Planes of 16 channels are transposed into zeros, [row][column][16], convolved there, and transposed back. The gradient of
// the input is the same on dy, in a sweep for each remainder of the stride, whose outputs see the same taps.
#pragma once

#include "convolution/depthwise_blocks_shape.h"
#include "convolution/generic.h"
#include "layout/generic.h"
#include "simd/clear.h"
#include "simd/finite.h"

namespace dtrain {
namespace {

// Where a tap is seen from an output's place in the plane, in numbers, and which number of a kernel it is.
struct BlockTap {
  std::int64_t place, weight;
};

// Outputs that see the same taps: `rows` × `columns` of them, in the plane and in the result so many numbers apart.
struct BlockSweep {
  std::int64_t rows, columns;
  std::int64_t from_row, from_column;
  std::int64_t to, to_row, to_column;
  const BlockTap* taps;  // by their places
  std::int64_t count;
  bool is_dense;  // rows of taps side by side, seen by outputs side by side
};

inline void write_places(std::int64_t height, std::int64_t width, const BlockPlane& plane, std::int64_t* places) {
  for (std::int64_t h = 0; h < height; ++h) {
    for (std::int64_t w = 0; w < width; ++w) {
      const std::int64_t row = h + plane.above, column = w + plane.left;
      const bool is_inside = row < plane.rows && column < plane.columns;
      *places++ = (is_inside ? row * plane.columns + column : plane.size()) * kBlock;
    }
  }
}

// The pieces of a part's workspace, for an image of `height` × `width` that is to stand in `of`: zeros, and where its pixels go.
template <typename T>
struct BlockRoom {
  BlockRoom(const BlockPlane& of, std::int64_t height, std::int64_t width, std::int64_t other_pixels, std::int64_t kernel_size,
            T* workspace) {
    const BlockPieces pieces(of, height * width, other_pixels, kernel_size, sizeof(T));
    plane = workspace;
    lanes = plane + pieces.plane;
    numbers = lanes + pieces.lanes;
    places = reinterpret_cast<std::int64_t*>(numbers + pieces.numbers);
    taps = reinterpret_cast<BlockTap*>(numbers + pieces.numbers + pieces.places);
    clear(plane, of.size() * kBlock);
    write_places(height, width, of, places);
  }

  T *plane, *lanes, *numbers;
  std::int64_t* places;
  BlockTap* taps;
};

// `channels` planes of `pixels` each, side by side, into blocks at their places.
template <typename V>
void planes_to_places(const typename V::Element* planes, std::int64_t channels, std::int64_t pixels,
                      const std::int64_t* places, typename V::Element* to) {
  transpose_to<V>(planes, pixels, channels, pixels, [=](std::int64_t pixel) { return to + places[pixel]; }, kBlock);
}

// OUTPUTS outputs side by side through a dense K×K kernel: what several of them see is loaded once.
template <typename V, int K, int OUTPUTS>
inline void convolve_side_by_side(const typename V::Element* from, std::int64_t row, const V (&weights)[K * K],
                                  typename V::Element* to) {
  V sums[OUTPUTS];
#pragma GCC unroll 16
  for (int q = 0; q < OUTPUTS; ++q) sums[q] = V::zero();
#pragma GCC unroll 16
  for (int i = 0; i < K; ++i) {
#pragma GCC unroll 16
    for (int column = 0; column < OUTPUTS + K - 1; ++column) {
      const V seen = V::load(from + i * row + column * kBlock);
#pragma GCC unroll 16
      for (int q = 0; q < OUTPUTS; ++q) {
        if (column - q >= 0 && column - q < K) sums[q] = fma(weights[i * K + column - q], seen, sums[q]);
      }
    }
  }
#pragma GCC unroll 16
  for (int q = 0; q < OUTPUTS; ++q) sums[q].store(to + q * kBlock);
}

template <typename V, int K, int OUTPUTS>
inline void convolve_row(const typename V::Element* from, std::int64_t row, const V (&weights)[K * K],
                         typename V::Element* to, std::int64_t count) {
  for (; count >= OUTPUTS; count -= OUTPUTS, from += OUTPUTS * kBlock, to += OUTPUTS * kBlock) {
    convolve_side_by_side<V, K, OUTPUTS>(from, row, weights, to);
  }
  if constexpr (OUTPUTS > 1) convolve_row<V, K, OUTPUTS / 2>(from, row, weights, to, count);
}

template <typename V, int K>
void convolve_dense_blocks(const BlockSweep& sweep, const typename V::Element* plane, const typename V::Element* weights,
                           typename V::Element* to) {
  constexpr int kOutputs = K == 3 && sizeof(V) == 64 ? 8 : 4;  // with the weights in 32 or 16 registers
  V taps[K * K];
  for (int t = 0; t < K * K; ++t) taps[t] = V::load(weights + sweep.taps[t].weight * kBlock);
  const typename V::Element* from = plane + sweep.taps[0].place;
  for (std::int64_t h = 0; h < sweep.rows; ++h) {
    convolve_row<V, K, kOutputs>(from + h * sweep.from_row, sweep.from_row, taps, to + h * sweep.to_row, sweep.columns);
  }
}

// OUTPUTS outputs of a row through any taps.
template <typename V, int OUTPUTS>
inline void convolve_places(const BlockSweep& sweep, const typename V::Element* from, const typename V::Element* weights,
                            typename V::Element* to, std::int64_t count) {
  for (; count >= OUTPUTS; count -= OUTPUTS, from += OUTPUTS * sweep.from_column, to += OUTPUTS * sweep.to_column) {
    V sums[OUTPUTS];
#pragma GCC unroll 16
    for (int q = 0; q < OUTPUTS; ++q) sums[q] = V::zero();
    for (std::int64_t t = 0; t < sweep.count; ++t) {
      const typename V::Element* seen = from + sweep.taps[t].place;
      const V weight = V::load(weights + sweep.taps[t].weight * kBlock);
#pragma GCC unroll 16
      for (int q = 0; q < OUTPUTS; ++q) sums[q] = fma(weight, V::load(seen + q * sweep.from_column), sums[q]);
    }
#pragma GCC unroll 16
    for (int q = 0; q < OUTPUTS; ++q) sums[q].store(to + q * sweep.to_column);
  }
  if constexpr (OUTPUTS > 1) convolve_places<V, OUTPUTS / 2>(sweep, from, weights, to, count);
}

// The outputs of a sweep, of 16 channels.
template <typename V>
void convolve_blocks(const BlockSweep& sweep, const typename V::Element* plane, const typename V::Element* weights,
                     typename V::Element* lanes) {
  for (int lane = 0; lane < kBlock; lane += V::width) {
    typename V::Element* to = lanes + sweep.to + lane;
    if (sweep.is_dense && sweep.count == 9) {
      convolve_dense_blocks<V, 3>(sweep, plane + lane, weights + lane, to);
    } else if (sweep.is_dense && sweep.count == 25) {
      convolve_dense_blocks<V, 5>(sweep, plane + lane, weights + lane, to);
    } else {
      for (std::int64_t h = 0; h < sweep.rows; ++h) {
        convolve_places<V, 8>(sweep, plane + lane + h * sweep.from_row, weights + lane, to + h * sweep.to_row,
                              sweep.columns);
      }
    }
  }
}

inline bool is_dense(const ConvolutionShape& s) {
  const bool is_square = s.kernel_height == s.kernel_width;
  return is_square && s.stride_h == 1 && s.stride_w == 1 && s.dilation_h == 1 && s.dilation_w == 1;
}

// All of y at once. Writes the taps, and leaves them there.
inline BlockSweep sweep_of_y(const ConvolutionShape& s, const BlockPlane& plane, BlockTap* taps) {
  for (std::int64_t i = 0; i < s.kernel_height; ++i) {
    for (std::int64_t j = 0; j < s.kernel_width; ++j) {
      const std::int64_t number = i * s.kernel_width + j;
      taps[number] = {(i * s.dilation_h * plane.columns + j * s.dilation_w) * kBlock, number};
    }
  }
  return {s.out_height,
          s.out_width,
          s.stride_h * plane.columns * kBlock,
          s.stride_w * kBlock,
          0,
          s.out_width * kBlock,
          kBlock,
          taps,
          s.kernel_height * s.kernel_width,
          is_dense(s)};
}

// The pixels of dx whose rows and columns leave (`row`, `column`) when they are divided by the stride. Writes the taps.
inline BlockSweep sweep_of_dx(const ConvolutionShape& s, const BlockPlane& plane, std::int64_t row, std::int64_t column,
                              BlockTap* taps) {
  std::int64_t count = 0;
  for (std::int64_t i = s.kernel_height - 1; i >= 0; --i) {
    const std::int64_t down = row + s.pad_h - i * s.dilation_h;
    for (std::int64_t j = s.kernel_width - 1; j >= 0; --j) {
      const std::int64_t right = column + s.pad_w - j * s.dilation_w;
      if (down % s.stride_h != 0 || right % s.stride_w != 0) continue;
      const std::int64_t at = (down / s.stride_h + plane.above) * plane.columns + right / s.stride_w + plane.left;
      taps[count++] = {at * kBlock, i * s.kernel_width + j};
    }
  }
  return {row < s.height ? (s.height - row + s.stride_h - 1) / s.stride_h : 0,
          column < s.width ? (s.width - column + s.stride_w - 1) / s.stride_w : 0,
          plane.columns * kBlock,
          kBlock,
          (row * s.width + column) * kBlock,
          s.stride_h * s.width * kBlock,
          s.stride_w * kBlock,
          taps,
          count,
          is_dense(s)};
}

inline std::int64_t channels_of_block(const ConvolutionShape& s, std::int64_t block) {
  const std::int64_t left = s.channels - block * kBlock;
  return left < kBlock ? left : kBlock;
}

template <typename V>
void conv2d_depthwise_blocks(const typename V::Element* x, const typename V::Element* weights, typename V::Element* y,
                             const ConvolutionShape& s, Range units, typename V::Element* workspace) {
  using T = typename V::Element;
  const BlockPlane plane = block_plane_of_x(s);
  const std::int64_t pixels = s.height * s.width, out_pixels = s.out_height * s.out_width;
  const std::int64_t taps = s.kernel_height * s.kernel_width;
  const BlockRoom<T> room(plane, s.height, s.width, out_pixels, taps, workspace);
  const BlockSweep sweep = sweep_of_y(s, plane, room.taps);
  for (std::int64_t unit = units.begin; unit < units.end; ++unit) {
    const std::int64_t block = unit / s.batch, image = unit % s.batch;
    const std::int64_t first = block * kBlock, channels = channels_of_block(s, block);
    if (unit == units.begin || image == 0) {
      rows_to_lanes<V>(weights + first * taps, room.numbers, taps, channels, taps, kBlock);
    }
    planes_to_places<V>(x + (image * s.channels + first) * pixels, channels, pixels, room.places, room.plane);
    convolve_blocks<V>(sweep, room.plane, room.numbers, room.lanes);
    lanes_to_rows<V>(room.lanes, y + (image * s.channels + first) * out_pixels, out_pixels, channels, out_pixels, kBlock);
  }
}

// A weight that is not finite must not meet the zeros around dy: 0 · ∞ is NaN.
template <typename V>
void conv2d_backward_data_depthwise_blocks(const typename V::Element* dy, const typename V::Element* weights,
                                           typename V::Element* dx, const ConvolutionShape& s, Range units,
                                           typename V::Element* workspace) {
  using T = typename V::Element;
  const BlockPlane plane = block_plane_of_dy(s);
  const std::int64_t pixels = s.height * s.width, out_pixels = s.out_height * s.out_width;
  const std::int64_t taps = s.kernel_height * s.kernel_width;
  const BlockRoom<T> room(plane, s.out_height, s.out_width, pixels, taps, workspace);
  bool is_finite = true;
  for (std::int64_t unit = units.begin; unit < units.end; ++unit) {
    const std::int64_t block = unit / s.batch, image = unit % s.batch;
    const std::int64_t first = block * kBlock, channels = channels_of_block(s, block);
    if (unit == units.begin || image == 0) {
      rows_to_lanes<V>(weights + first * taps, room.numbers, taps, channels, taps, kBlock);
      is_finite = all_finite<V>(weights + first * taps, channels * taps);
    }
    const T* from = dy + (image * s.channels + first) * out_pixels;
    T* to = dx + (image * s.channels + first) * pixels;
    if (!is_finite) {
      for (std::int64_t c = 0; c < channels; ++c) {
        spread_plane<V>(from + c * out_pixels, weights + (first + c) * taps, to + c * pixels, s, false);
      }
      continue;
    }
    planes_to_places<V>(from, channels, out_pixels, room.places, room.plane);
    for (std::int64_t row = 0; row < s.stride_h && row < s.height; ++row) {
      for (std::int64_t column = 0; column < s.stride_w && column < s.width; ++column) {
        convolve_blocks<V>(sweep_of_dx(s, plane, row, column, room.taps), room.plane, room.numbers, room.lanes);
      }
    }
    lanes_to_rows<V>(room.lanes, to, pixels, channels, pixels, kBlock);
  }
}

// sums[t] += Σ dy · what tap t sees, over some rows, for the TAPS taps from `taps` on.
template <typename V, int TAPS>
void sum_of_taps(const BlockSweep& sweep, const BlockTap* taps, Range rows, const typename V::Element* plane,
                 const typename V::Element* grads, typename V::Element* sums) {
  V totals[TAPS];
#pragma GCC unroll 16
  for (int t = 0; t < TAPS; ++t) totals[t] = V::zero();
  for (std::int64_t h = rows.begin; h < rows.end; ++h) {
    const typename V::Element* seen = plane + h * sweep.from_row;
    const typename V::Element* grad = grads + h * sweep.to_row;
    for (std::int64_t w = 0; w < sweep.columns; ++w, seen += sweep.from_column, grad += kBlock) {
      const V number = V::load(grad);
#pragma GCC unroll 16
      for (int t = 0; t < TAPS; ++t) totals[t] = fma(number, V::load(seen + taps[t].place), totals[t]);
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < TAPS; ++t) {
    typename V::Element* to = sums + taps[t].weight * kBlock;
    (totals[t] + V::load(to)).store(to);
  }
}

// `count` ≤ TAPS taps, by a function whose loops know how many.
template <typename V, int TAPS>
void sum_of_some_taps(std::int64_t count, const BlockSweep& sweep, const BlockTap* taps, Range rows,
                      const typename V::Element* plane, const typename V::Element* grads, typename V::Element* sums) {
  if constexpr (TAPS > 0) {
    if (count == TAPS) {
      sum_of_taps<V, TAPS>(sweep, taps, rows, plane, grads, sums);
    } else {
      sum_of_some_taps<V, TAPS - 1>(count, sweep, taps, rows, plane, grads, sums);
    }
  }
}

template <typename V>
void conv2d_backward_weights_depthwise_blocks(const typename V::Element* dy, const typename V::Element* x,
                                              typename V::Element* dweights, const ConvolutionShape& s, Range units,
                                              typename V::Element* workspace) {
  using T = typename V::Element;
  constexpr std::int64_t kTaps = 9;            // at once, a register each
  constexpr std::int64_t kMostPixels = 256;    // of several rows that are added one by one, or the error would grow
  const BlockPlane plane = block_plane_of_x(s);
  const std::int64_t pixels = s.height * s.width, out_pixels = s.out_height * s.out_width;
  const std::int64_t taps = s.kernel_height * s.kernel_width;
  const BlockRoom<T> room(plane, s.height, s.width, out_pixels, taps, workspace);
  const BlockSweep sweep = sweep_of_y(s, plane, room.taps);
  const std::int64_t together = s.out_width < kMostPixels ? kMostPixels / s.out_width : 1;
  for (std::int64_t block = units.begin; block < units.end; ++block) {
    const std::int64_t first = block * kBlock, channels = channels_of_block(s, block);
    clear(room.numbers, taps * kBlock);
    for (std::int64_t image = 0; image < s.batch; ++image) {
      planes_to_places<V>(x + (image * s.channels + first) * pixels, channels, pixels, room.places, room.plane);
      rows_to_lanes<V>(dy + (image * s.channels + first) * out_pixels, room.lanes, out_pixels, channels, out_pixels, kBlock);
      for (std::int64_t h = 0; h < sweep.rows; h += together) {
        const Range rows{h, sweep.rows - h < together ? sweep.rows : h + together};
        for (std::int64_t t = 0; t < taps; t += kTaps) {
          for (int lane = 0; lane < kBlock; lane += V::width) {
            sum_of_some_taps<V, kTaps>(taps - t < kTaps ? taps - t : kTaps, sweep, sweep.taps + t, rows, room.plane + lane,
                                       room.lanes + lane, room.numbers + lane);
          }
        }
      }
    }
    lanes_to_rows<V>(room.numbers, dweights + first * taps, taps, channels, taps, kBlock);
  }
}

}  // namespace
}  // namespace dtrain
