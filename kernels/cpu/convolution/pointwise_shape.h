// Convolution by a kernel of one pixel: sizes and contracts. kernels/pointwise.py says the same of sizes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "simd/range.h"

namespace dtrain {

// From images of `inputs` channels to images of `outputs`, [batch][channels][pixels]. The number from channel i to channel
// o is at o · output_apart + i · input_apart of the weights.
struct PointwiseShape {
  std::int64_t batch, inputs, outputs, pixels;
  std::int64_t output_apart, input_apart;

  std::int64_t all_pixels() const { return batch * pixels; }
  // Whose weights lie in the workspace together: 512 KB in f32, which the second cache has room for.
  std::int64_t outputs_together() const {
    return std::min(outputs, std::max<std::int64_t>(32, (1 << 17) / inputs / 32 * 32));
  }
  // Parts share the lighter of both: pieces of 32 outputs, or of 32 pixels, counted over all images.
  bool is_cut_by_outputs() const { return outputs > all_pixels(); }
  std::int64_t units() const { return ((is_cut_by_outputs() ? outputs : all_pixels()) + 31) / 32; }
  // That are brought together from their channels, 256 KB in f32: rows of 1 KB where there are few channels, since it takes
  // memory long to find each.
  std::int64_t pixels_together() const { return 32 * std::min<std::int64_t>(8, std::max<std::int64_t>(1, 2048 / inputs)); }
  // Elements: weights of tiles, of 16 rows at most, and what pixels see.
  std::int64_t workspace() const { return (outputs_together() + 16 + pixels_together()) * inputs; }
};

// Of outputs and pixels, counted over all images.
struct PointwisePart {
  Range outputs, pixels;
};

// For the gradient of the weights: channels of dy and x, in either order; rows the more of them.
struct PointwiseSums {
  static constexpr std::int64_t kChunk = 64;  // pixels that are added one by one
  std::int64_t batch, rows, columns, pixels;
  bool rows_are_outputs;

  std::int64_t padded_columns() const { return (columns + 15) / 16 * 16; }
  // Whose sums lie in the workspace together: 256 KB in f32.
  std::int64_t rows_together() const {
    return std::min(rows, std::max<std::int64_t>(32, (1 << 16) / padded_columns() / 32 * 32));
  }
  std::int64_t units() const { return (rows + 31) / 32; }
  // Elements: a chunk of all columns, that of the rows of a tile, and sums.
  std::int64_t workspace() const { return padded_columns() * (kChunk + rows_together()) + 16 * kChunk; }
};

template <typename T>
using conv2d_backward_weights_pointwise_fn = void(const T* dy, const T* x, T* dweights, const PointwiseSums& shape,
                                                  Range rows, T* workspace);

template <typename T>
using pointwise_fn = void(const T* from, const T* weights, T* to, const PointwiseShape& shape, const PointwisePart& part,
                          T* workspace);
template <typename T>
using conv2d_pointwise_fn = pointwise_fn<T>;
template <typename T>
using conv2d_backward_data_pointwise_fn = pointwise_fn<T>;

}  // namespace dtrain
