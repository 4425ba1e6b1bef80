// Depthwise convolution by blocks of 16 channels: sizes and contracts. kernels/depthwise_blocks.py says the same of sizes.
#pragma once

#include "convolution/convolution.h"
#include "convolution/direct_shape.h"

namespace dtrain {

// Of 16 channels together: [rows][columns][16], where pixel (h, w) of the image stands at (h + above, w + left). What
// nobody reads stands behind the end.
struct BlockPlane {
  std::int64_t rows, columns, above, left;
  std::int64_t size() const { return rows * columns; }
};

// What y reads of x.
inline BlockPlane block_plane_of_x(const ConvolutionShape& s) {
  return {(s.out_height - 1) * s.stride_h + (s.kernel_height - 1) * s.dilation_h + 1,
          (s.out_width - 1) * s.stride_w + (s.kernel_width - 1) * s.dilation_w + 1, s.pad_h, s.pad_w};
}

// What dx reads of dy.
inline BlockPlane block_plane_of_dy(const ConvolutionShape& s) {
  const std::int64_t above = seen_before(s.kernel_height, s.dilation_h, s.pad_h, s.stride_h);
  const std::int64_t left = seen_before(s.kernel_width, s.dilation_w, s.pad_w, s.stride_w);
  return {(s.height - 1 + s.pad_h) / s.stride_h + above + 1, (s.width - 1 + s.pad_w) / s.stride_w + left + 1, above, left};
}

// The pieces of the workspace, in elements of `itemsize` bytes.
struct BlockPieces {
  BlockPieces(const BlockPlane& of, std::int64_t pixels, std::int64_t other_pixels, std::int64_t taps, std::int64_t itemsize)
      : plane((of.size() + 1) * 16), lanes(other_pixels * 16), numbers(taps * 16), places(in_blocks(pixels) * 8 / itemsize),
        table(in_blocks(2 * taps) * 8 / itemsize) {}
  std::int64_t total() const { return plane + lanes + numbers + places + table; }

  std::int64_t plane;          // an image in its zeros
  std::int64_t lanes;          // the other image
  std::int64_t numbers;        // a weight a tap, or its gradient
  std::int64_t places, table;  // where a pixel stands, and where a tap is seen: 64 and 128 bits each
};

// `units` are to be computed: images of blocks of channels, number block · batch + image; for the gradient of the weights
// blocks.
template <typename T>
using conv2d_depthwise_blocks_fn = void(const T* x, const T* weights, T* y, const ConvolutionShape& shape, Range units,
                                        T* workspace);

template <typename T>
using conv2d_backward_data_depthwise_blocks_fn = void(const T* dy, const T* weights, T* dx, const ConvolutionShape& shape,
                                                      Range units, T* workspace);

template <typename T>
using conv2d_backward_weights_depthwise_blocks_fn = void(const T* dy, const T* x, T* dweights,
                                                         const ConvolutionShape& shape, Range units, T* workspace);

}  // namespace dtrain
