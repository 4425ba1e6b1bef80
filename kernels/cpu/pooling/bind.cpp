#include "pooling/pooling.h"

#include <algorithm>
#include <atomic>

#include "binding/share.h"
#include "binding/table.h"

namespace dtrain {
namespace {

using Sizes = const Py_ssize_t*;

// Planes of input[N,C,H,W] and output[N,C,OH,OW]. Every output has at least one input where there are any.
PoolingShape read_planes(Call& call, Sizes input, Sizes output) {
  call.expect(input[0] == output[0] && input[1] == output[1], "input and output of the same N and C");
  const bool is_empty = input[0] * input[1] * output[2] * output[3] == 0;
  call.expect(is_empty || input[2] * input[3] > 0, "an input plane that is not empty");
  PoolingShape shape{};
  shape.planes = input[0] * input[1];
  shape.height = input[2];
  shape.width = input[3];
  shape.out_height = output[2];
  shape.out_width = output[3];
  return shape;
}

// run(shape of the part, its first element of an input, of an output, its number) for all parts of the planes.
template <typename Run>
void share_planes(const PoolingShape& shape, std::int64_t bytes, const Run& run, std::int64_t most = kMostParts) {
  ReleaseGil unlocked(bytes);
  const auto work = [&](Range planes, std::int64_t number) {
    PoolingShape part = shape;
    part.planes = planes.end - planes.begin;
    run(part, planes.begin * shape.height * shape.width, planes.begin * shape.out_height * shape.out_width, number);
  };
  share(shape.planes, bytes, work, most);
}

void read_window(Call& call, PoolingShape& shape) {
  const auto kernel_size = call.integers<2>("kernel_size");
  const auto stride = call.integers<2>("stride");
  const auto padding = call.integers<2>("padding");
  call.expect(stride[0] > 0 && stride[1] > 0 && kernel_size[0] > 0 && kernel_size[1] > 0 && padding[0] >= 0 &&
                  padding[1] >= 0 && 2 * padding[0] <= kernel_size[0] && 2 * padding[1] <= kernel_size[1],
              "positive kernel_size and stride, and a padding of at most half the kernel");
  shape.kernel_h = kernel_size[0];
  shape.kernel_w = kernel_size[1];
  shape.stride_h = stride[0];
  shape.stride_w = stride[1];
  shape.pad_h = padding[0];
  shape.pad_w = padding[1];
  call.expect((shape.out_height - 1) * stride[0] + kernel_size[0] <= shape.height + 2 * padding[0] &&
                  (shape.out_width - 1) * stride[1] + kernel_size[1] <= shape.width + 2 * padding[1],
              "an output whose windows lie in the padded input");
}

// The shape of a call from x to y and indices.
template <typename T>
PoolingShape read_maxima(Call& call, const Array<const T>& x, const Array<T>& y, const Array<std::int32_t>& indices) {
  call.expect(indices.size == y.size, "indices of the size of y");
  return read_planes(call, x.shape, y.shape);
}

template <typename T>
auto bind_max_pool2d(Call& call, max_pool2d_fn<T>* kernel) {
  const auto x = call.input<T>(0, 4);
  const auto y = call.output<T>(0, 4);
  const auto indices = call.output<std::int32_t>(1, 4);
  PoolingShape shape = read_maxima<T>(call, x, y, indices);
  read_window(call, shape);
  const PoolingRows rows = rows_of(shape);
  const Workspaces<T> rooms = call.workspaces<T>(rows.count * rows.phases * rows.pitch);
  return [=] {
    const auto part = [&](const PoolingShape& planes, std::int64_t input, std::int64_t output, std::int64_t number) {
      kernel(x.data + input, y.data + output, indices.data + output, planes, rooms.of(number));
    };
    share_planes(shape, 4 * x.size * sizeof(T), part, rooms.count);
  };
}

template <typename T>
auto bind_adaptive_max_pool2d(Call& call, adaptive_max_pool2d_fn<T>* kernel) {
  const auto x = call.input<T>(0, 4);
  const auto y = call.output<T>(0, 4);
  const auto indices = call.output<std::int32_t>(1, 4);
  const PoolingShape shape = read_maxima<T>(call, x, y, indices);
  return [=] {
    const auto part = [&](const PoolingShape& planes, std::int64_t input, std::int64_t output, std::int64_t) {
      kernel(x.data + input, y.data + output, indices.data + output, planes);
    };
    share_planes(shape, 4 * x.size * sizeof(T), part);
  };
}

// The sign of a difference says it, so that the compiler makes vectors of the loop: it has no compare of them without signs.
bool are_inside(const std::int32_t* indices, std::int64_t count, std::int64_t inputs) {
  const auto last = static_cast<std::uint32_t>(std::min<std::int64_t>(inputs, 1LL << 31) - 1);
  std::uint32_t outside = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto index = static_cast<std::uint32_t>(indices[i]);
    outside |= index | (last - index);
  }
  return outside >> 31 == 0;
}

template <typename T>
void bind_max_pool2d_backward(Call& call, max_pool2d_backward_fn<T>* kernel) {
  const auto dy = call.input<T>(0, 4);
  const auto indices = call.input<std::int32_t>(1, 4);
  const auto dx = call.output<T>(0, 4);
  const PoolingShape shape = read_planes(call, dx.shape, dy.shape);
  call.expect(indices.size == dy.size, "indices of the size of dy");
  const std::int64_t inputs = shape.height * shape.width, outputs = shape.out_height * shape.out_width;
  std::atomic<bool> all_inside = true;
  const auto part = [&](PoolingShape planes, std::int64_t input, std::int64_t output, std::int64_t) {
    // Plane by plane: indices that have just been checked are still near.
    const std::int64_t count = planes.planes;
    planes.planes = 1;
    for (std::int64_t plane = 0; plane < count; ++plane, output += outputs, input += inputs) {
      if (!are_inside(indices.data + output, outputs, inputs)) {
        all_inside = false;
        return;
      }
      kernel(dy.data + output, indices.data + output, dx.data + input, planes);
    }
  };
  share_planes(shape, 2 * dx.size * sizeof(T), part);
  call.expect(all_inside, "indices inside the input plane, as max_pool2d gave them");
}

// Forward takes x to y, backward dy to dx; both read the same attributes.
template <typename T>
auto read_average(Call& call, avg_pool2d_fn<T>* kernel, bool is_backward, bool has_window) {
  const auto from = call.input<T>(0, 4);
  const auto to = call.output<T>(0, 4);
  PoolingShape shape = is_backward ? read_planes(call, to.shape, from.shape) : read_planes(call, from.shape, to.shape);
  if (has_window) {
    read_window(call, shape);
    shape.count_include_pad = call.flag("count_include_pad");
  }
  return [=] {
    const std::int64_t bytes = 2 * (from.size + to.size) * sizeof(T);
    share_planes(shape, bytes, [&](const PoolingShape& part, std::int64_t input, std::int64_t output, std::int64_t) {
      kernel(from.data + (is_backward ? output : input), to.data + (is_backward ? input : output), part);
    });
  };
}

template <typename T>
auto bind_avg_pool2d(Call& call, avg_pool2d_fn<T>* kernel) {
  return read_average<T>(call, kernel, false, true);
}

template <typename T>
auto bind_avg_pool2d_backward(Call& call, avg_pool2d_backward_fn<T>* kernel) {
  return read_average<T>(call, kernel, true, true);
}

template <typename T>
auto bind_adaptive_avg_pool2d(Call& call, adaptive_avg_pool2d_fn<T>* kernel) {
  return read_average<T>(call, kernel, false, false);
}

template <typename T>
auto bind_adaptive_avg_pool2d_backward(Call& call, adaptive_avg_pool2d_backward_fn<T>* kernel) {
  return read_average<T>(call, kernel, true, false);
}

}  // namespace

}  // namespace dtrain

#define DTRAIN_FAMILY pooling
#define DTRAIN_KERNELS "pooling/kernels.inc"
#include "binding/rows.h"
