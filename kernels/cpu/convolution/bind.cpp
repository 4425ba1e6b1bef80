#include "convolution/convolution.h"
#include "convolution/depthwise_blocks_shape.h"
#include "convolution/direct_shape.h"
#include "convolution/pointwise_shape.h"
#include "binding/share.h"
#include "binding/table.h"

namespace dtrain {
namespace {

using Sizes = const Py_ssize_t*;

std::int64_t output_size(std::int64_t input, std::int64_t kernel, std::int64_t stride, std::int64_t padding,
                         std::int64_t dilation) {
  const std::int64_t reach = dilation * (kernel - 1) + 1;
  return input + 2 * padding < reach ? 0 : (input + 2 * padding - reach) / stride + 1;
}

// Everything a kernel walks over; x_shape[4] is N,C,H,W. Throws where an attribute makes no sense.
ConvolutionShape read_shape(Call& call, Sizes x, std::int64_t out_channels, std::int64_t kernel_height,
                            std::int64_t kernel_width) {
  const auto stride = call.integers<2>("stride");
  const auto padding = call.integers<2>("padding");
  const auto dilation = call.integers<2>("dilation");
  call.expect(stride[0] > 0 && stride[1] > 0 && dilation[0] > 0 && dilation[1] > 0 && padding[0] >= 0 &&
                  padding[1] >= 0,
              "positive stride and dilation and a padding of at least 0");
  ConvolutionShape shape{x[0], x[1], x[2], x[3], out_channels, 0, 0, kernel_height, kernel_width,
                         stride[0], stride[1], padding[0], padding[1], dilation[0], dilation[1]};
  shape.out_height = output_size(shape.height, kernel_height, stride[0], padding[0], dilation[0]);
  shape.out_width = output_size(shape.width, kernel_width, stride[1], padding[1], dilation[1]);
  return shape;
}

void expect_columns(Call& call, Sizes columns, const ConvolutionShape& shape) {
  call.expect(columns[0] == shape.channels && columns[1] == shape.kernel_height && columns[2] == shape.kernel_width &&
                  columns[3] == shape.batch && columns[4] == shape.out_height && columns[5] == shape.out_width,
              "columns[C,KH,KW,N,OH,OW]");
}

template <typename T>
auto bind_im2col(Call& call, im2col_fn<T>* kernel) {
  const auto x = call.input<T>(0, 4);
  const auto columns = call.output<T>(0, 6);
  const auto kernel_size = call.integers<2>("kernel_size");
  const ConvolutionShape shape = read_shape(call, x.shape, x.shape[1], kernel_size[0], kernel_size[1]);
  expect_columns(call, columns.shape, shape);
  return [=] {
    const std::int64_t bytes = columns.size * sizeof(T);
    ReleaseGil unlocked(bytes);
    share(shape.channels, 2 * bytes, [&](Range channels, std::int64_t) { kernel(x.data, columns.data, shape, channels); });
  };
}

template <typename T>
auto bind_col2im(Call& call, col2im_fn<T>* kernel) {
  const auto columns = call.input<T>(0, 6);
  const auto dx = call.output<T>(0, 4);
  const ConvolutionShape shape = read_shape(call, dx.shape, dx.shape[1], columns.shape[1], columns.shape[2]);
  expect_columns(call, columns.shape, shape);
  return [=] {
    const std::int64_t bytes = columns.size * sizeof(T);
    ReleaseGil unlocked(bytes);
    share(shape.channels, 2 * bytes, [&](Range channels, std::int64_t) { kernel(columns.data, dx.data, shape, channels); });
  };
}

// The checks all three depthwise kernels share: x[N,C,H,W], w[O,1,KH,KW], y[N,O,OH,OW].
ConvolutionShape read_depthwise(Call& call, Sizes x, Sizes weights, Sizes y) {
  const ConvolutionShape shape = read_shape(call, x, weights[0], weights[2], weights[3]);
  call.expect(call.integer("groups") == shape.channels && weights[1] == 1 && shape.channels > 0 &&
                  shape.out_channels % shape.channels == 0,
              "as many groups as channels, and weights[O,1,KH,KW]");
  call.expect(y[0] == shape.batch && y[1] == shape.out_channels && y[2] == shape.out_height && y[3] == shape.out_width &&
                  y[2] > 0 && y[3] > 0,
              "y[N,O,OH,OW] of at least one pixel");
  return shape;
}

// For each part a plane, and twice 16 numbers a tap: for its weights or sums, and for its place.
template <typename T>
Workspaces<T> take_workspaces(Call& call, const ConvolutionShape& s, const PaddedPlane& plane) {
  return call.workspaces<T>(plane.room() + 32 * s.kernel_height * s.kernel_width);
}

// The call of a depthwise kernel on the data of its arrays, in parts of the channels of x.
template <typename T, typename Kernel>
auto depthwise_call(Kernel* kernel, const T* first, const T* second, T* out, const ConvolutionShape& shape,
                    Workspaces<T> workspaces) {
  const std::int64_t outputs = shape.batch * shape.out_channels * shape.out_height * shape.out_width;
  const std::int64_t bytes = 4 * outputs * static_cast<std::int64_t>(sizeof(T));
  return [=] {
    ReleaseGil unlocked(bytes);
    const auto run = [&](Range channels, std::int64_t part) {
      kernel(first, second, out, shape, channels, workspaces.of(part));
    };
    share(shape.channels, bytes, run, workspaces.count);
  };
}

template <typename T>
auto bind_conv2d_depthwise(Call& call, conv2d_depthwise_fn<T>* kernel) {
  const auto x = call.input<T>(0, 4), weights = call.input<T>(1, 4);
  const auto y = call.output<T>(0, 4);
  const ConvolutionShape shape = read_depthwise(call, x.shape, weights.shape, y.shape);
  return depthwise_call(kernel, x.data, weights.data, y.data, shape,
                        take_workspaces<T>(call, shape, plane_of_x(shape)));
}

template <typename T>
auto bind_conv2d_backward_data_depthwise(Call& call, conv2d_backward_data_depthwise_fn<T>* kernel) {
  const auto dy = call.input<T>(0, 4), weights = call.input<T>(1, 4);
  const auto dx = call.output<T>(0, 4);
  const ConvolutionShape shape = read_depthwise(call, dx.shape, weights.shape, dy.shape);
  return depthwise_call(kernel, dy.data, weights.data, dx.data, shape,
                        take_workspaces<T>(call, shape, plane_of_dy(shape)));
}

template <typename T>
auto bind_conv2d_backward_weights_depthwise(Call& call, conv2d_backward_weights_depthwise_fn<T>* kernel) {
  const auto dy = call.input<T>(0, 4), x = call.input<T>(1, 4);
  const auto dweights = call.output<T>(0, 4);
  const ConvolutionShape shape = read_depthwise(call, x.shape, dweights.shape, dy.shape);
  return depthwise_call(kernel, dy.data, x.data, dweights.data, shape,
                        take_workspaces<T>(call, shape, plane_of_x(shape)));
}

// The call of a kernel by blocks of channels on the data of its arrays; `placed` and `other` are pixels of the image that
// stands in `plane`, and of the other.
template <typename T, typename Kernel>
auto blocks_call(Call& call, Kernel* kernel, const T* first, const T* second, T* out, const ConvolutionShape& s,
                 const BlockPlane& plane, std::int64_t placed, std::int64_t other, bool is_of_weights) {
  call.expect(s.out_channels == s.channels, "one output a channel");
  const std::int64_t taps = s.kernel_height * s.kernel_width, blocks = (s.channels + 15) / 16;
  const auto workspaces = call.workspaces<T>(BlockPieces(plane, placed, other, taps, sizeof(T)).total());
  const std::int64_t outputs = s.batch * s.channels * s.out_height * s.out_width;
  const std::int64_t bytes = outputs * static_cast<std::int64_t>(sizeof(T)), units = is_of_weights ? blocks : blocks * s.batch;
  return [=] {
    ReleaseGil unlocked(bytes);
    const auto run = [&](Range part, std::int64_t number) { kernel(first, second, out, s, part, workspaces.of(number)); };
    share(units, bytes, run, workspaces.count);
  };
}

template <typename T>
auto bind_conv2d_depthwise_blocks(Call& call, conv2d_depthwise_blocks_fn<T>* kernel) {
  const auto x = call.input<T>(0, 4), weights = call.input<T>(1, 4);
  const auto y = call.output<T>(0, 4);
  const ConvolutionShape s = read_depthwise(call, x.shape, weights.shape, y.shape);
  return blocks_call<T>(call, kernel, x.data, weights.data, y.data, s, block_plane_of_x(s), s.height * s.width,
                        s.out_height * s.out_width, false);
}

template <typename T>
auto bind_conv2d_backward_data_depthwise_blocks(Call& call, conv2d_backward_data_depthwise_blocks_fn<T>* kernel) {
  const auto dy = call.input<T>(0, 4), weights = call.input<T>(1, 4);
  const auto dx = call.output<T>(0, 4);
  const ConvolutionShape s = read_depthwise(call, dx.shape, weights.shape, dy.shape);
  return blocks_call<T>(call, kernel, dy.data, weights.data, dx.data, s, block_plane_of_dy(s), s.out_height * s.out_width,
                        s.height * s.width, false);
}

template <typename T>
auto bind_conv2d_backward_weights_depthwise_blocks(Call& call, conv2d_backward_weights_depthwise_blocks_fn<T>* kernel) {
  const auto dy = call.input<T>(0, 4), x = call.input<T>(1, 4);
  const auto dweights = call.output<T>(0, 4);
  const ConvolutionShape s = read_depthwise(call, x.shape, dweights.shape, dy.shape);
  return blocks_call<T>(call, kernel, dy.data, x.data, dweights.data, s, block_plane_of_x(s), s.height * s.width,
                        s.out_height * s.out_width, true);
}

struct DirectCall {
  ConvolutionShape shape;
  std::int64_t groups, products;
};

// The checks all three direct kernels share: x[N,C,H,W], w[O,C/G,KH,KW], y[N,O,OH,OW].
DirectCall read_direct(Call& call, Sizes x, Sizes weights, Sizes y) {
  const ConvolutionShape shape = read_shape(call, x, weights[0], weights[2], weights[3]);
  const std::int64_t groups = call.integer("groups");
  call.expect(groups > 0 && shape.channels == groups * weights[1] && weights[0] % groups == 0 && weights[1] > 0 &&
                  weights[0] > 0,
              "groups that divide the channels, and weights[O,C/G,KH,KW]");
  call.expect(y[0] == shape.batch && y[1] == shape.out_channels && y[2] == shape.out_height && y[3] == shape.out_width &&
                  y[2] > 0 && y[3] > 0,
              "y[N,O,OH,OW] of at least one pixel");
  return {shape, groups, y[0] * y[1] * y[2] * y[3] * weights[1] * weights[2] * weights[3]};
}

// The call of a direct kernel on the data of its arrays. Four products take about as long as a byte that is moved.
template <typename T, typename Kernel>
auto direct_call(Kernel* kernel, const T* first, const T* second, T* out, const DirectCall& read,
                 const DirectShape& direct, bool is_of_weights, Workspaces<T> workspaces) {
  return [=] {
    const std::int64_t bytes = read.products / 4;
    ReleaseGil unlocked(bytes);
    const DirectParts parts(direct, read.shape.batch, parts_of(kMostParts, bytes, workspaces.count), is_of_weights);
    run_shared(parts.count(), bytes, [&](std::int64_t part) {
      kernel(first, second, out, read.shape, direct, parts.part(part), workspaces.of(part));
    });
  };
}

template <typename T>
auto bind_conv2d_direct(Call& call, conv2d_direct_fn<T>* kernel) {
  const auto x = call.input<T>(0, 4), weights = call.input<T>(1, 4);
  const auto y = call.output<T>(0, 4);
  const DirectCall read = read_direct(call, x.shape, weights.shape, y.shape);
  const DirectShape direct = forward_shape(read.shape, read.groups);
  return direct_call(kernel, x.data, weights.data, y.data, read, direct, false,
                     call.workspaces<T>(DirectPieces(direct, sizeof(T)).total()));
}

template <typename T>
auto bind_conv2d_backward_data_direct(Call& call, conv2d_backward_data_direct_fn<T>* kernel) {
  const auto dy = call.input<T>(0, 4), weights = call.input<T>(1, 4);
  const auto dx = call.output<T>(0, 4);
  const DirectCall read = read_direct(call, dx.shape, weights.shape, dy.shape);
  const DirectShape direct = backward_shape(read.shape, read.groups);
  return direct_call(kernel, dy.data, weights.data, dx.data, read, direct, false,
                     call.workspaces<T>(DirectPieces(direct, sizeof(T)).total()));
}

template <typename T>
auto bind_conv2d_backward_weights_direct(Call& call, conv2d_backward_weights_direct_fn<T>* kernel) {
  const auto dy = call.input<T>(0, 4), x = call.input<T>(1, 4);
  const auto dweights = call.output<T>(0, 4);
  const DirectCall read = read_direct(call, x.shape, dweights.shape, dy.shape);
  const DirectShape direct = forward_shape(read.shape, read.groups);
  return direct_call(kernel, dy.data, x.data, dweights.data, read, direct, true,
                     call.workspaces<T>(DirectWeightsPieces(direct).total()));
}

void expect_one_pixel(Call& call, const DirectCall& read) {
  const ConvolutionShape& s = read.shape;
  call.expect(read.groups == 1 && s.kernel_height == 1 && s.kernel_width == 1 && s.stride_h == 1 && s.stride_w == 1 &&
                  s.pad_h == 0 && s.pad_w == 0,
              "a kernel of one pixel, one group, no stride and no padding");
}

// The call of a kernel of one pixel on the data of its arrays, [N,C,H,W] and [N,O,H,W].
template <typename T, typename Kernel>
auto pointwise_call(Call& call, Kernel* kernel, const Array<const T>& from, const Array<const T>& weights, const Array<T>& to,
                    bool is_forward) {
  const DirectCall read = is_forward ? read_direct(call, from.shape, weights.shape, to.shape)
                                     : read_direct(call, to.shape, weights.shape, from.shape);
  expect_one_pixel(call, read);
  const ConvolutionShape& s = read.shape;
  const PointwiseShape shape{s.batch, from.shape[1], to.shape[1], s.height * s.width, is_forward ? s.channels : 1,
                             is_forward ? 1 : s.channels};
  const auto workspaces = call.workspaces<T>(shape.workspace());
  return [=] {
    const std::int64_t bytes = read.products / 4;
    ReleaseGil unlocked(bytes);
    const bool by_outputs = shape.is_cut_by_outputs();
    const auto run = [&](Range units, std::int64_t number) {
      PointwisePart part{{0, shape.outputs}, {0, shape.all_pixels()}};
      Range& cut = by_outputs ? part.outputs : part.pixels;
      cut = {32 * units.begin, std::min(32 * units.end, cut.end)};
      kernel(from.data, weights.data, to.data, shape, part, workspaces.of(number));
    };
    share(shape.units(), bytes, run, workspaces.count);
  };
}

template <typename T>
auto bind_conv2d_pointwise(Call& call, conv2d_pointwise_fn<T>* kernel) {
  const auto x = call.input<T>(0, 4), weights = call.input<T>(1, 4);
  return pointwise_call<T>(call, kernel, x, weights, call.output<T>(0, 4), true);
}

template <typename T>
auto bind_conv2d_backward_data_pointwise(Call& call, conv2d_backward_data_pointwise_fn<T>* kernel) {
  const auto dy = call.input<T>(0, 4), weights = call.input<T>(1, 4);
  return pointwise_call<T>(call, kernel, dy, weights, call.output<T>(0, 4), false);
}

template <typename T>
auto bind_conv2d_backward_weights_pointwise(Call& call, conv2d_backward_weights_pointwise_fn<T>* kernel) {
  const auto dy = call.input<T>(0, 4), x = call.input<T>(1, 4);
  const auto dweights = call.output<T>(0, 4);
  const DirectCall read = read_direct(call, x.shape, dweights.shape, dy.shape);
  expect_one_pixel(call, read);
  const std::int64_t inputs = read.shape.channels, outputs = read.shape.out_channels;
  const PointwiseSums sums{read.shape.batch, std::max(inputs, outputs), std::min(inputs, outputs),
                           read.shape.height * read.shape.width, outputs >= inputs};
  const auto workspaces = call.workspaces<T>(sums.workspace());
  return [=] {
    const std::int64_t bytes = read.products / 4;
    ReleaseGil unlocked(bytes);
    const auto run = [&](Range units, std::int64_t number) {
      const Range rows{32 * units.begin, std::min(32 * units.end, sums.rows)};
      kernel(dy.data, x.data, dweights.data, sums, rows, workspaces.of(number));
    };
    share(sums.units(), bytes, run, workspaces.count);
  };
}

}  // namespace

}  // namespace dtrain

#define DTRAIN_FAMILY convolution
#define DTRAIN_KERNELS "convolution/kernels.inc"
#include "binding/rows.h"
