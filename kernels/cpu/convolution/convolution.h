// 2-D convolution: im2col and its adjoint, around products of BLAS, and depthwise convolution. direct_shape.h has another.
//
// Shapes: x [N][C][H][W], y [N][O][OH][OW], columns [C][KH][KW][N][OH][OW]; depthwise weights [O][1][KH][KW], where
// output channel o reads input channel o / (O / C). Output row oh sees, through kernel row i, the input row
// oh·stride_h + i·dilation_h − pad_h.
#pragma once

#include <cstdint>

#include "simd/range.h"

namespace dtrain {

struct ConvolutionShape {
  std::int64_t batch, channels, height, width;
  std::int64_t out_channels, out_height, out_width;
  std::int64_t kernel_height, kernel_width;
  std::int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
};

// What outputs read of a channel, in its zeros: [rows][phases][pitch], where column c is number c / phases of phase
// c % phases.
struct PaddedPlane {
  std::int64_t rows, phases, pitch;
  std::int64_t row() const { return phases * pitch; }
  std::int64_t size() const { return rows * row(); }
  std::int64_t at(std::int64_t row_number, std::int64_t column) const {
    return row_number * row() + column % phases * pitch + column / phases;
  }
  std::int64_t room() const { return (size() + 15) / 16 * 16; }  // that it takes of a workspace
};

// For `height` × `width` outputs a step apart. kernels/depthwise.py says the same.
inline PaddedPlane plane_for(const ConvolutionShape& s, std::int64_t height, std::int64_t width, std::int64_t step_h,
                             std::int64_t step_w) {
  const std::int64_t reach = (s.kernel_width - 1) * s.dilation_w / step_w;
  return {(height - 1) * step_h + (s.kernel_height - 1) * s.dilation_h + 1, step_w, (width + 15) / 16 * 16 + reach + 16};
}

// What y reads of x, and what dx reads of a dy that is spread by the stride.
inline PaddedPlane plane_of_x(const ConvolutionShape& s) {
  return plane_for(s, s.out_height, s.out_width, s.stride_h, s.stride_w);
}
inline PaddedPlane plane_of_dy(const ConvolutionShape& s) { return plane_for(s, s.height, s.width, 1, 1); }

// `channels` of x, or dx, are to be computed or read; the arrays have all.
template <typename T>
using im2col_fn = void(const T* x, T* columns, const ConvolutionShape& shape, Range channels);

template <typename T>
using col2im_fn = void(const T* columns, T* dx, const ConvolutionShape& shape, Range channels);

template <typename T>
using conv2d_depthwise_fn = void(const T* x, const T* weights, T* y, const ConvolutionShape& shape, Range channels,
                                 T* workspace);

template <typename T>
using conv2d_backward_data_depthwise_fn = void(const T* dy, const T* weights, T* dx, const ConvolutionShape& shape,
                                               Range channels, T* workspace);

template <typename T>
using conv2d_backward_weights_depthwise_fn = void(const T* dy, const T* x, T* dweights, const ConvolutionShape& shape,
                                                  Range channels, T* workspace);

}  // namespace dtrain
