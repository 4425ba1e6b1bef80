// Winograd's convolution over a vector type: images into blocks of 16 channels, tiles into 36 matrices, products, and back.
#pragma once

#include "gemm/tile.h"
#include "layout/frame.h"
#include "simd/finite.h"
#include "winograd/transforms.h"
#include "winograd/winograd.h"

namespace dtrain {
namespace {

inline Frame input_frame(const WinogradShape& s, const WinogradPieces& pieces) {
  return {s.channels, s.height, s.width, s.pad_h, s.pad_w, 4 * pieces.tile_rows + 2, 4 * pieces.tile_columns + 2};
}

inline Frame output_frame(const WinogradShape& s, const WinogradPieces& pieces) {
  return {s.out_channels, s.out_height, s.out_width, 0, 0, 4 * pieces.tile_rows, 4 * pieces.tile_columns};
}

// Tile number `tile` of a blocked image into 36 matrices [blocks][tiles][16], at place `at` of each.
template <typename V, typename Transform>
void tile_to_matrices(const typename V::Element* blocked, std::int64_t blocks, std::int64_t rows, std::int64_t columns,
                      std::int64_t tile, const WinogradPieces& pieces, typename V::Element* to, std::int64_t apart,
                      std::int64_t tiles, std::int64_t at) {
  const std::int64_t top = tile / pieces.tile_columns * 4, left = tile % pieces.tile_columns * 4;
  for (std::int64_t block = 0; block < blocks; ++block) {
    const typename V::Element* from = blocked + ((block * rows + top) * columns + left) * kBlock;
    typename V::Element* place = to + (block * tiles + at) * kBlock;
    for (int lane = 0; lane < kBlock; lane += V::width) {
      transform_tile<V, Transform>([&](int i, int j) { return V::load(from + (i * columns + j) * kBlock + lane); },
                                   [&](int i, int j, V value) { value.store(place + (i * 6 + j) * apart + lane); });
    }
  }
}

// Kernels in memory: the number at tap t, from input channel c to output channel o, is
// at[o · out_apart + c · in_apart + (t or 8 − t)].
template <typename T>
struct Weights {
  const T* at;
  std::int64_t inputs, outputs, in_apart, out_apart;
  bool is_turned;
};

// Leaves a kernel's taps as they are.
struct NoTransform {
  static constexpr int from = 3, to = 3;
  template <typename V>
  __attribute__((always_inline)) static inline void apply(const V* x, V* y) {
    for (int i = 0; i < 3; ++i) y[i] = x[i];
  }
};

// Kernels into matrices [outputs / 16][inputs][16]: 36 of them, or without a transform 9, one a tap.
template <typename V, typename Transform>
void weights_to_matrices(const Weights<typename V::Element>& weights, typename V::Element* to, std::int64_t apart) {
  using T = typename V::Element;
  const std::int64_t inputs = weights.inputs, outputs = weights.outputs;
  const std::int64_t rows = (inputs + kBlock - 1) / kBlock * kBlock;
  for (std::int64_t first = 0; first < outputs; first += kBlock) {
    const int count = outputs - first < kBlock ? static_cast<int>(outputs - first) : kBlock;
    for (std::int64_t c = 0; c < rows; ++c) {
      T* place = to + (first * rows) + c * kBlock;
      T taps[9][kBlock] = {};
      if (c < inputs) {
        for (int o = 0; o < count; ++o) {
          const T* from = weights.at + (first + o) * weights.out_apart + c * weights.in_apart;
          for (int t = 0; t < 9; ++t) taps[t][o] = from[weights.is_turned ? 8 - t : t];
        }
      }
      for (int lane = 0; lane < kBlock; lane += V::width) {
        transform_tile<V, Transform>(
            [&](int i, int j) { return V::load(taps[i * 3 + j] + lane); },
            [&](int i, int j, V value) { value.store(place + (i * Transform::to + j) * apart + lane); });
      }
    }
  }
}

// Of one blocked image, tap by tap, with weights as they are.
template <typename V>
void convolve_directly(const typename V::Element* image, const Frame& in, const typename V::Element* weights,
                       std::int64_t apart, typename V::Element* result, const Frame& out,
                       const WinogradPieces& pieces) {
  for (std::int64_t h = 0; h < out.height; ++h) {
    for (int t = 0; t < 9; ++t) {
      const AlongBlocks<typename V::Element> seen{image + ((h + t / 3) * in.columns + t % 3) * kBlock,
                                                  in.rows * in.columns * kBlock, pieces.input_blocks};
      multiply<V>(out.width, pieces.output_blocks, seen, weights + t * apart, pieces.input_blocks * 256,
                  result + h * out.columns * kBlock, out.rows * out.columns * kBlock, t > 0);
    }
  }
}

template <typename V>
void convolve(const typename V::Element* x, typename V::Element* y, const WinogradShape& s,
              const Weights<typename V::Element>& kernels, typename V::Element* workspace) {
  using T = typename V::Element;
  const WinogradPieces pieces(s);
  T* weights = workspace;
  T* plain_weights = weights + 36 * pieces.weights_apart;
  T* image = plain_weights + 9 * pieces.weights_apart;
  T* result = image + pieces.image;
  T* inputs = result + pieces.result;
  T* outputs = inputs + 36 * pieces.inputs_apart;
  const Frame in = input_frame(s, pieces), out = output_frame(s, pieces);
  const std::int64_t total = s.batch * pieces.tiles();
  const std::int64_t x_apart = s.channels * s.height * s.width, y_apart = s.out_channels * s.out_height * s.out_width;
  weights_to_matrices<V, WeightTransform>(kernels, weights, pieces.weights_apart);
  bool has_plain_weights = false;
  Finite<V> is_finite;
  for (std::int64_t begin = 0; begin < total; begin += s.tiles_a_chunk) {
    const std::int64_t count = total - begin < s.tiles_a_chunk ? total - begin : s.tiles_a_chunk;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t n = (begin + i) / pieces.tiles(), tile = (begin + i) % pieces.tiles();
      if (tile == 0) to_blocks<V>(x + n * x_apart, image, in);
      tile_to_matrices<V, InputTransform>(image, pieces.input_blocks, in.rows, in.columns, tile, pieces, inputs,
                                          pieces.inputs_apart, count, i);
    }
    for (int p = 0; p < 36; ++p) {
      const AlongBlocks<T> matrix{inputs + p * pieces.inputs_apart, count * kBlock, pieces.input_blocks};
      multiply<V>(count, pieces.output_blocks, matrix, weights + p * pieces.weights_apart, pieces.input_blocks * 256,
                  outputs + p * pieces.outputs_apart, count * kBlock, false);
    }
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t n = (begin + i) / pieces.tiles(), tile = (begin + i) % pieces.tiles();
      const std::int64_t top = tile / pieces.tile_columns * 4, left = tile % pieces.tile_columns * 4;
      for (std::int64_t block = 0; block < pieces.output_blocks; ++block) {
        const T* from = outputs + (block * count + i) * kBlock;
        T* to = result + ((block * out.rows + top) * out.columns + left) * kBlock;
        for (int lane = 0; lane < kBlock; lane += V::width) {
          transform_tile<V, OutputTransform>(
              [&](int a, int b) { return V::load(from + (a * 6 + b) * pieces.outputs_apart + lane); },
              [&](int a, int b, V value) {
                is_finite.add(value);
                value.store(to + (a * out.columns + b) * kBlock + lane);
              });
        }
      }
      if (tile + 1 < pieces.tiles()) continue;
      if (!is_finite) {
        if (!has_plain_weights) weights_to_matrices<V, NoTransform>(kernels, plain_weights, pieces.weights_apart);
        has_plain_weights = true;
        to_blocks<V>(x + n * x_apart, image, in);
        convolve_directly<V>(image, in, plain_weights, pieces.weights_apart, result, out, pieces);
        const std::int64_t next = begin + count;  // the image that the next chunk goes on with
        if (next % pieces.tiles() != 0) to_blocks<V>(x + next / pieces.tiles() * x_apart, image, in);
        is_finite = Finite<V>();
      }
      from_blocks<V>(result, y + n * y_apart, out);
    }
  }
}

template <typename V>
void conv2d_winograd(const typename V::Element* x, const typename V::Element* weights, typename V::Element* y,
                     const WinogradShape& s, typename V::Element* workspace) {
  convolve<V>(x, y, s, {weights, s.channels, s.out_channels, 9, s.channels * 9, false}, workspace);
}

template <typename V>
void conv2d_backward_data_winograd(const typename V::Element* dy, const typename V::Element* weights,
                                   typename V::Element* dx, const WinogradShape& s, typename V::Element* workspace) {
  convolve<V>(dy, dx, s, {weights, s.channels, s.out_channels, s.out_channels * 9, 9, true}, workspace);
}

// Sums [outputs / 16][inputs][16], of each tap or transformed, into the plain gradient. Whether all of it is finite.
template <typename V, typename Transform>
bool sums_to_weights(const typename V::Element* sums, typename V::Element* dweights, const WinogradShape& s,
                     const WinogradPieces& pieces) {
  using T = typename V::Element;
  Finite<V> is_finite;
  for (std::int64_t block = 0; block < pieces.output_blocks; ++block) {
    const std::int64_t first = block * kBlock;
    const int count = s.out_channels - first < kBlock ? static_cast<int>(s.out_channels - first) : kBlock;
    for (std::int64_t c = 0; c < s.channels; ++c) {
      const T* from = sums + (block * pieces.input_blocks * kBlock + c) * kBlock;
      T taps[9][kBlock];
      for (int lane = 0; lane < kBlock; lane += V::width) {
        transform_tile<V, Transform>(
            [&](int i, int j) { return V::load(from + (i * Transform::from + j) * pieces.weights_apart + lane); },
            [&](int i, int j, V value) {
              is_finite.add(value);
              value.store(taps[i * 3 + j] + lane);
            });
      }
      for (int o = 0; o < count; ++o) {
        T* to = dweights + ((first + o) * s.channels + c) * 9;
        for (int t = 0; t < 9; ++t) to[t] = taps[t][o];
      }
    }
  }
  return static_cast<bool>(is_finite);
}

template <typename V>
void conv2d_backward_weights_winograd(const typename V::Element* dy, const typename V::Element* x,
                                      typename V::Element* dweights, const WinogradShape& s,
                                      typename V::Element* workspace) {
  using T = typename V::Element;
  const WinogradPieces pieces(s);
  T* sums = workspace;
  T* image = sums + 36 * pieces.weights_apart;
  T* grads = image + pieces.image;
  T* inputs = grads + pieces.result;
  T* outputs = inputs + 36 * pieces.inputs_apart;
  const Frame in = input_frame(s, pieces), out = output_frame(s, pieces);
  const std::int64_t total = s.batch * pieces.tiles();
  for (std::int64_t begin = 0; begin < total; begin += s.tiles_a_chunk) {
    const std::int64_t count = total - begin < s.tiles_a_chunk ? total - begin : s.tiles_a_chunk;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t n = (begin + i) / pieces.tiles(), tile = (begin + i) % pieces.tiles();
      if (tile == 0) {
        to_blocks<V>(x + n * s.channels * s.height * s.width, image, in);
        to_blocks<V>(dy + n * s.out_channels * s.out_height * s.out_width, grads, out);
      }
      tile_to_matrices<V, InputTransform>(image, pieces.input_blocks, in.rows, in.columns, tile, pieces, inputs,
                                          pieces.inputs_apart, count, i);
      tile_to_matrices<V, OutputGradientTransform>(grads, pieces.output_blocks, out.rows, out.columns, tile, pieces,
                                                   outputs, pieces.outputs_apart, count, i);
    }
    for (int p = 0; p < 36; ++p) {
      for (std::int64_t block = 0; block < pieces.input_blocks; ++block) {
        const AcrossBlocks<T> matrix{inputs + p * pieces.inputs_apart + block * count * kBlock, count};
        multiply<V>(kBlock, pieces.output_blocks, matrix, outputs + p * pieces.outputs_apart, count * kBlock,
                    sums + p * pieces.weights_apart + block * 256, pieces.input_blocks * 256, begin > 0);
      }
    }
  }
  if (sums_to_weights<V, WeightGradientTransform>(sums, dweights, s, pieces)) return;
  for (std::int64_t n = 0; n < s.batch; ++n) {
    to_blocks<V>(x + n * s.channels * s.height * s.width, image, in);
    to_blocks<V>(dy + n * s.out_channels * s.out_height * s.out_width, grads, out);
    for (std::int64_t h = 0; h < out.height; ++h) {
      for (int t = 0; t < 9; ++t) {
        for (std::int64_t block = 0; block < pieces.input_blocks; ++block) {
          const AcrossBlocks<T> seen{image + ((block * in.rows + h + t / 3) * in.columns + t % 3) * kBlock, out.width};
          multiply<V>(kBlock, pieces.output_blocks, seen, grads + h * out.columns * kBlock,
                      out.rows * out.columns * kBlock, sums + t * pieces.weights_apart + block * 256,
                      pieces.input_blocks * 256, n > 0 || h > 0);
        }
      }
    }
  }
  sums_to_weights<V, NoTransform>(sums, dweights, s, pieces);
}

}  // namespace
}  // namespace dtrain
