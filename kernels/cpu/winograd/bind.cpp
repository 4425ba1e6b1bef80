#include "winograd/winograd.h"

#include "binding/share.h"
#include "binding/table.h"

namespace dtrain {
namespace {

// The checks that all three share: stride and dilation 1, one group, 3×3 kernels, and sizes that fit.
template <typename T>
WinogradShape read_winograd(Call& call, const Py_ssize_t* x, const Py_ssize_t* weights, const Py_ssize_t* y) {
  const auto stride = call.integers<2>("stride"), padding = call.integers<2>("padding");
  const auto dilation = call.integers<2>("dilation");
  call.expect(stride[0] == 1 && stride[1] == 1 && dilation[0] == 1 && dilation[1] == 1 && call.integer("groups") == 1,
              "a stride and dilation of 1, and one group");
  call.expect(weights[1] == x[1] && weights[2] == 3 && weights[3] == 3, "weights[O,C,3,3]");
  call.expect(padding[0] >= 0 && padding[1] >= 0, "a padding of at least 0");
  call.expect(y[0] == x[0] && y[1] == weights[0] && y[2] == x[2] + 2 * padding[0] - 2 &&
                  y[3] == x[3] + 2 * padding[1] - 2 && y[2] > 0 && y[3] > 0,
              "y[N,O,OH,OW]");
  return {x[0], x[1], x[2], x[3], weights[0], y[2], y[3], padding[0], padding[1], 0};
}

// As many tiles as leave their matrices in the second cache, but enough to make the reading of the kernels' worth while.
template <typename T>
Workspaces<T> take_workspaces(Call& call, WinogradShape& s) {
  const WinogradPieces one(s);
  const std::int64_t bytes = 36 * 16 * (one.input_blocks + one.output_blocks) * static_cast<std::int64_t>(sizeof(T));
  std::int64_t tiles = (1 << 20) / bytes;
  if (tiles < 112) tiles = 112;
  s.tiles_a_chunk = tiles < s.batch * one.tiles() ? tiles : s.batch * one.tiles();
  return call.workspaces<T>(WinogradPieces(s).total());
}

// The call of the forward kernel, or the same on dy, in parts of the images. Each brings the weights into matrices.
template <typename T, typename Kernel>
auto winograd_call(Kernel* kernel, const T* x, const T* weights, T* y, const WinogradShape& shape,
                   Workspaces<T> workspaces) {
  const std::int64_t x_apart = shape.channels * shape.height * shape.width;
  const std::int64_t y_apart = shape.out_channels * shape.out_height * shape.out_width;
  const std::int64_t bytes = shape.batch * y_apart * shape.channels;  // nine products each, by Winograd two
  return [=] {
    ReleaseGil unlocked(bytes);
    const auto run = [&](Range images, std::int64_t part) {
      WinogradShape some = shape;
      some.batch = images.end - images.begin;
      kernel(x + images.begin * x_apart, weights, y + images.begin * y_apart, some, workspaces.of(part));
    };
    share(shape.batch, bytes, run, workspaces.count);
  };
}

template <typename T>
auto bind_conv2d_winograd(Call& call, conv2d_winograd_fn<T>* kernel) {
  const auto x = call.input<T>(0, 4), weights = call.input<T>(1, 4);
  const auto y = call.output<T>(0, 4);
  WinogradShape shape = read_winograd<T>(call, x.shape, weights.shape, y.shape);
  const Workspaces<T> workspaces = take_workspaces<T>(call, shape);
  return winograd_call(kernel, x.data, weights.data, y.data, shape, workspaces);
}

template <typename T>
auto bind_conv2d_backward_data_winograd(Call& call, conv2d_backward_data_winograd_fn<T>* kernel) {
  const auto dy = call.input<T>(0, 4), weights = call.input<T>(1, 4);
  const auto dx = call.output<T>(0, 4);
  const WinogradShape s = read_winograd<T>(call, dx.shape, weights.shape, dy.shape);
  call.expect(s.pad_h <= 2 && s.pad_w <= 2, "a padding of at most 2");
  WinogradShape shape{s.batch,  s.out_channels, s.out_height, s.out_width, s.channels, s.height,
                      s.width, 2 - s.pad_h,    2 - s.pad_w,  0};
  const Workspaces<T> workspaces = take_workspaces<T>(call, shape);
  return winograd_call(kernel, dy.data, weights.data, dx.data, shape, workspaces);
}

template <typename T>
auto bind_conv2d_backward_weights_winograd(Call& call, conv2d_backward_weights_winograd_fn<T>* kernel) {
  const auto dy = call.input<T>(0, 4), x = call.input<T>(1, 4);
  const auto dweights = call.output<T>(0, 4);
  WinogradShape shape = read_winograd<T>(call, x.shape, dweights.shape, dy.shape);
  T* workspace = take_workspaces<T>(call, shape).of(0);
  return [=] {
    ReleaseGil unlocked(dy.size * sizeof(T) * 4);
    kernel(dy.data, x.data, dweights.data, shape, workspace);
  };
}

}  // namespace

}  // namespace dtrain

#define DTRAIN_FAMILY winograd
#define DTRAIN_KERNELS "winograd/kernels.inc"
#include "binding/rows.h"
