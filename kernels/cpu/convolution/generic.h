// im2col and col2im over a vector type, and the taps of a gradient one by one.
#pragma once

#include "convolution/convolution.h"
#include "simd/clear.h"
#include "simd/loop.h"

namespace dtrain {
namespace {

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
  if (tap.rows.end - tap.rows.begin < shape.out_height || tap.count() < shape.out_width) clear(to, outputs);
  for (std::int64_t row = tap.rows.begin; row < tap.rows.end; ++row) {
    copy_row<V>(plane + tap.input(shape, row), shape.stride_w, to + tap.output(shape, row), tap.count());
  }
}

template <typename V>
void im2col(const typename V::Element* x, typename V::Element* columns, const ConvolutionShape& shape,
            Range channels) {
  const std::int64_t outputs = shape.out_height * shape.out_width;
  const std::int64_t inputs = shape.height * shape.width;
  columns += channels.begin * shape.kernel_height * shape.kernel_width * shape.batch * outputs;
  for (std::int64_t channel = channels.begin; channel < channels.end; ++channel) {
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
void col2im(const typename V::Element* columns, typename V::Element* dx, const ConvolutionShape& shape,
            Range channels) {
  const std::int64_t outputs = shape.out_height * shape.out_width;
  const std::int64_t inputs = shape.height * shape.width;
  for (std::int64_t image = 0; image < shape.batch; ++image) {
    clear(dx + (image * shape.channels + channels.begin) * inputs, (channels.end - channels.begin) * inputs);
  }
  columns += channels.begin * shape.kernel_height * shape.kernel_width * shape.batch * outputs;
  for (std::int64_t channel = channels.begin; channel < channels.end; ++channel) {
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

// dx += or = the taps of one plane of dy, one after another, each where it falls on dx: zeros are multiplied with nothing.
template <typename V>
void spread_plane(const typename V::Element* dy, const typename V::Element* weights, typename V::Element* dx,
                  const ConvolutionShape& s, bool adds) {
  if (!adds) clear(dx, s.height * s.width);
  for (std::int64_t i = 0; i < s.kernel_height; ++i) {
    for (std::int64_t j = 0; j < s.kernel_width; ++j, ++weights) {
      const Tap tap(s, i, j);
      for (std::int64_t row = tap.rows.begin; row < tap.rows.end; ++row) {
        const typename V::Element* from = dy + tap.output(s, row);
        typename V::Element* to = dx + tap.input(s, row);
        if (s.stride_w == 1) {
          for_each_vector<V>(tap.count(), [&](std::int64_t k, auto lane) {
            lane.store(fma(V(*weights), lane.load(from + k), lane.load(to + k)), to + k);
          });
        } else {
          for (std::int64_t k = 0; k < tap.count(); ++k) to[k * s.stride_w] += *weights * from[k];
        }
      }
    }
  }
}

}  // namespace
}  // namespace dtrain
