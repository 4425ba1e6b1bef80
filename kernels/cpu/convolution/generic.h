// im2col, col2im and depthwise convolution over a vector type.
#pragma once

#include "convolution/convolution.h"
#include "simd/loop.h"

namespace dtrain {
namespace {

struct Range {
  std::int64_t begin, end;
};

// The output positions o in [0, outputs) whose input o·stride + offset lies in [0, inputs).
inline Range valid_outputs(std::int64_t outputs, std::int64_t inputs, std::int64_t stride, std::int64_t offset) {
  std::int64_t begin = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
  std::int64_t end = inputs - 1 - offset < 0 ? 0 : (inputs - 1 - offset) / stride + 1;
  if (end > outputs) end = outputs;
  if (begin > end) begin = end;
  return {begin, end};
}

// What kernel position (i, j) sees of a plane: the outputs that fall on the input, and where.
struct Tap {
  Tap(const ConvolutionShape& shape, std::int64_t i, std::int64_t j)
      : row_offset(i * shape.dilation_h - shape.pad_h),
        column_offset(j * shape.dilation_w - shape.pad_w),
        rows(valid_outputs(shape.out_height, shape.height, shape.stride_h, row_offset)),
        columns(valid_outputs(shape.out_width, shape.width, shape.stride_w, column_offset)) {}

  // Index in the input plane of output (row, columns.begin).
  std::int64_t input(const ConvolutionShape& shape, std::int64_t row) const {
    return (row * shape.stride_h + row_offset) * shape.width + columns.begin * shape.stride_w + column_offset;
  }
  std::int64_t output(const ConvolutionShape& shape, std::int64_t row) const {
    return row * shape.out_width + columns.begin;
  }
  std::int64_t count() const { return columns.end - columns.begin; }

  std::int64_t row_offset, column_offset;
  Range rows, columns;
};

template <typename V>
inline void fill_zero(typename V::Element* to, std::int64_t count) {
  for_each_vector<V>(count, [=](std::int64_t k, auto lane) { lane.store(V::zero(), to + k); });
}

template <typename V>
inline void copy_row(const typename V::Element* from, std::int64_t stride, typename V::Element* to,
                     std::int64_t count) {
  if (stride == 1) {
    for_each_vector<V>(count, [=](std::int64_t k, auto lane) { lane.store(lane.load(from + k), to + k); });
  } else {
    for (std::int64_t k = 0; k < count; ++k) to[k] = from[k * stride];
  }
}

template <typename V>
inline void add_row(const typename V::Element* from, typename V::Element* to, std::int64_t stride, std::int64_t count) {
  if (stride == 1) {
    for_each_vector<V>(count,
                       [=](std::int64_t k, auto lane) { lane.store(lane.load(to + k) + lane.load(from + k), to + k); });
  } else {
    for (std::int64_t k = 0; k < count; ++k) to[k * stride] += from[k];
  }
}

template <typename V>
void im2col_plane(const typename V::Element* plane, typename V::Element* to, const ConvolutionShape& shape,
                  const Tap& tap) {
  const std::int64_t outputs = shape.out_height * shape.out_width;
  if (tap.row_offset == 0 && tap.column_offset == 0 && shape.stride_h == 1 && shape.stride_w == 1 &&
      shape.out_height == shape.height && shape.out_width == shape.width) {
    copy_row<V>(plane, 1, to, outputs);
    return;
  }
  if (tap.rows.end - tap.rows.begin < shape.out_height || tap.count() < shape.out_width) fill_zero<V>(to, outputs);
  for (std::int64_t row = tap.rows.begin; row < tap.rows.end; ++row) {
    copy_row<V>(plane + tap.input(shape, row), shape.stride_w, to + tap.output(shape, row), tap.count());
  }
}

template <typename V>
void im2col(const typename V::Element* x, typename V::Element* columns, const ConvolutionShape& shape) {
  const std::int64_t outputs = shape.out_height * shape.out_width;
  const std::int64_t inputs = shape.height * shape.width;
  for (std::int64_t channel = 0; channel < shape.channels; ++channel) {
    for (std::int64_t i = 0; i < shape.kernel_height; ++i) {
      for (std::int64_t j = 0; j < shape.kernel_width; ++j) {
        const Tap tap(shape, i, j);
        for (std::int64_t image = 0; image < shape.batch; ++image) {
          im2col_plane<V>(x + (image * shape.channels + channel) * inputs, columns, shape, tap);
          columns += outputs;
        }
      }
    }
  }
}

template <typename V>
void col2im(const typename V::Element* columns, typename V::Element* dx, const ConvolutionShape& shape) {
  const std::int64_t outputs = shape.out_height * shape.out_width;
  const std::int64_t inputs = shape.height * shape.width;
  fill_zero<V>(dx, shape.batch * shape.channels * inputs);
  for (std::int64_t channel = 0; channel < shape.channels; ++channel) {
    for (std::int64_t i = 0; i < shape.kernel_height; ++i) {
      for (std::int64_t j = 0; j < shape.kernel_width; ++j) {
        const Tap tap(shape, i, j);
        for (std::int64_t image = 0; image < shape.batch; ++image) {
          typename V::Element* plane = dx + (image * shape.channels + channel) * inputs;
          for (std::int64_t row = tap.rows.begin; row < tap.rows.end; ++row) {
            add_row<V>(columns + tap.output(shape, row), plane + tap.input(shape, row), shape.stride_w, tap.count());
          }
          columns += outputs;
        }
      }
    }
  }
}

// to[k·to_stride] += factor · from[k·from_stride]
template <typename V>
inline void add_scaled_row(typename V::Element factor, const typename V::Element* from, std::int64_t from_stride,
                           typename V::Element* to, std::int64_t to_stride, std::int64_t count) {
  if (from_stride == 1 && to_stride == 1) {
    const V scale(factor);
    for_each_vector<V>(count, [=](std::int64_t k, auto lane) {
      lane.store(fma(scale, lane.load(from + k), lane.load(to + k)), to + k);
    });
  } else {
    for (std::int64_t k = 0; k < count; ++k) to[k * to_stride] += factor * from[k * from_stride];
  }
}

// body(output plane index, input plane index, weight index, tap) for every image, output channel and kernel position.
template <typename Body>
inline void for_each_depthwise_tap(const ConvolutionShape& shape, Body body) {
  const std::int64_t per_input = shape.out_channels / shape.channels;
  for (std::int64_t image = 0; image < shape.batch; ++image) {
    for (std::int64_t channel = 0; channel < shape.out_channels; ++channel) {
      std::int64_t weight = channel * shape.kernel_height * shape.kernel_width;
      for (std::int64_t i = 0; i < shape.kernel_height; ++i) {
        for (std::int64_t j = 0; j < shape.kernel_width; ++j) {
          body(image * shape.out_channels + channel, image * shape.channels + channel / per_input, weight++,
               Tap(shape, i, j));
        }
      }
    }
  }
}

template <typename V>
void conv2d_depthwise(const typename V::Element* x, const typename V::Element* weights, typename V::Element* y,
                      const ConvolutionShape& shape) {
  const std::int64_t outputs = shape.out_height * shape.out_width, inputs = shape.height * shape.width;
  fill_zero<V>(y, shape.batch * shape.out_channels * outputs);
  for_each_depthwise_tap(shape, [&](std::int64_t to, std::int64_t from, std::int64_t weight, const Tap& tap) {
    for (std::int64_t row = tap.rows.begin; row < tap.rows.end; ++row) {
      add_scaled_row<V>(weights[weight], x + from * inputs + tap.input(shape, row), shape.stride_w,
                        y + to * outputs + tap.output(shape, row), 1, tap.count());
    }
  });
}

template <typename V>
void conv2d_backward_data_depthwise(const typename V::Element* dy, const typename V::Element* weights,
                                    typename V::Element* dx, const ConvolutionShape& shape) {
  const std::int64_t outputs = shape.out_height * shape.out_width, inputs = shape.height * shape.width;
  fill_zero<V>(dx, shape.batch * shape.channels * inputs);
  for_each_depthwise_tap(shape, [&](std::int64_t from, std::int64_t to, std::int64_t weight, const Tap& tap) {
    for (std::int64_t row = tap.rows.begin; row < tap.rows.end; ++row) {
      add_scaled_row<V>(weights[weight], dy + from * outputs + tap.output(shape, row), 1,
                        dx + to * inputs + tap.input(shape, row), shape.stride_w, tap.count());
    }
  });
}

// Σ a[k] · b[k·stride]
template <typename V>
inline typename V::Element dot_row(const typename V::Element* a, const typename V::Element* b, std::int64_t stride,
                                   std::int64_t count) {
  if (stride == 1) {
    V total = V::zero();
    for_each_vector<V>(count,
                       [&](std::int64_t k, auto lane) { total = fma(lane.load(a + k), lane.load(b + k), total); });
    return total.sum();
  }
  typename V::Element total = 0;
  for (std::int64_t k = 0; k < count; ++k) total += a[k] * b[k * stride];
  return total;
}

template <typename V>
void conv2d_backward_weights_depthwise(const typename V::Element* dy, const typename V::Element* x,
                                       typename V::Element* dweights, const ConvolutionShape& shape) {
  const std::int64_t outputs = shape.out_height * shape.out_width, inputs = shape.height * shape.width;
  fill_zero<V>(dweights, shape.out_channels * shape.kernel_height * shape.kernel_width);
  for_each_depthwise_tap(shape, [&](std::int64_t seen, std::int64_t from, std::int64_t weight, const Tap& tap) {
    typename V::Element total = 0;
    for (std::int64_t row = tap.rows.begin; row < tap.rows.end; ++row) {
      total += dot_row<V>(dy + seen * outputs + tap.output(shape, row), x + from * inputs + tap.input(shape, row),
                          shape.stride_w, tap.count());
    }
    dweights[weight] += total;
  });
}

}  // namespace
}  // namespace dtrain
